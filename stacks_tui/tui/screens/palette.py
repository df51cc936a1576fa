"""The command palette: everything that keys do, by name."""

from __future__ import annotations

from textual.command import DiscoveryHit, Hit, Hits, Provider

from stacks_tui import text
from stacks_tui.tui import keys


class Everything(Provider):
    """The command palette: all that keys do."""

    async def discover(self) -> Hits:
        """The whole list."""
        for key in keys.KEYS:
            shown = f"{key.says}  ({keys.shown(key.keys)})"
            yield DiscoveryHit(text.printable(shown), self._does(key), help=key.area)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for key in keys.KEYS:
            score = matcher.match(f"{key.says} {key.hint}")
            if score > 0:
                shown = matcher.highlight(f"{key.says}  ({keys.shown(key.keys)})")
                yield Hit(score, shown, self._does(key), help=key.area)

    def _does(self, key: keys.Key):  # type: ignore[no-untyped-def]  # as Textual's callbacks are
        screen = self.screen

        async def do() -> None:
            await screen.run_action(key.action)

        return do
