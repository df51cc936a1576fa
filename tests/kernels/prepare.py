"""Kernels, root folders and disk images for the runs on other kernels, made once and kept.

Comes in: Debian's suites through apt, the project's dependencies through pip. Goes out, in the
cache folder (`STACKS_TUI_KERNELS`, default `~/.cache/stacks-tui-kernels`):

    kernels/NAME/        an unpacked kernel package: NAME is 6.1, 6.12 or newest
    kernels/NAME.img     its initramfs: busybox, the modules of a virtio disk, guest_init.sh
    roots/SUITE/         a root folder with the suite's Python and BCC, and the project's
                         dependencies
    roots/SUITE.ext4     the same as a disk image

Needs root. Nothing is made that is there already; remove a folder to have it made again.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

CACHE = Path(
    os.environ.get("STACKS_TUI_KERNELS") or Path.home() / ".cache" / "stacks-tui-kernels"
).resolve()

KERNELS = {
    "6.1": ("bookworm",),
    "6.12": ("trixie",),
    "newest": ("trixie-backports", "sid"),
}
"""Name of a kernel → the suites to take it from; of several suites, the newest version."""

SUITES = ("bookworm", "trixie", "sid")
"""BCC 0.26, 0.31 and the newest that is packaged."""

ROOT_PACKAGES = ("python3", "python3-bpfcc")

SITE = "/tmp/code/site"
"""Where a run finds the project itself; every root's Python has it on its path."""

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86 ipxe-qemu",
    "mmdebstrap": "mmdebstrap",
    "depmod": "kmod",
    "cpio": "cpio",
    "zstd": "zstd",
    "busybox": "busybox-static",
    "mkfs.ext4": "e2fsprogs",
    "gcc": "gcc libc6-dev",
}

VIRTIO_MODULES = ("virtio_pci", "virtio_blk", "ext4")


def run(*command: str, cwd: Path | None = None, config: Path | None = None) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        subprocess.CalledProcessError: it failed; its messages went to stderr.
    """
    environment = os.environ | ({"APT_CONFIG": str(config)} if config else {})
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def debian_mirror() -> str:
    """The mirror that this machine's own apt uses for Debian."""
    listing = run(
        "apt-get", "indextargets", "--format", "$(SITE) $(REPO_URI)", "Created-By: Packages"
    )
    for line in sorted(set(listing.splitlines())):
        uri = line.split()[-1]
        if uri.rstrip("/").endswith("/debian"):
            return uri
    sys.exit("no Debian mirror in this machine's apt sources; run this on a Debian machine.")


def apt_state(suite: str, mirror: str) -> Path:
    """A private apt state for one suite, so that the machine's own sources stay as they are."""
    folder = CACHE / "apt" / suite
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
    (folder / "status").touch()
    config = folder / "apt.conf"
    config.write_text(
        f"""\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
Acquire::Check-Valid-Until "{"false" if suite == "sid" else "true"}";
"""
    )
    run("apt-get", "update", "-qq", config=config)
    return config


def version_key(text: str) -> tuple[int, ...]:
    """The numbers in a kernel's version, in order."""
    return tuple(int(number) for number in re.findall(r"\d+", text))


def kernel_packages(version: str, config: Path) -> list[str]:
    """Packages that hold a kernel: from 7.x on `linux-image-…` is empty, two others carry it."""
    split = [f"linux-binary-{version}", f"linux-modules-{version}"]
    known = run(
        "apt-cache", "search", "--names-only", f"^linux-binary-{re.escape(version)}$", config=config
    )
    return split if known.strip() else [f"linux-image-{version}"]


def fetch_kernel(name: str, mirror: str) -> None:
    """Make `kernels/NAME` and `kernels/NAME.img`."""
    folder = CACHE / "kernels" / name
    if not folder.is_dir():
        candidates: list[tuple[tuple[int, ...], str, Path]] = []
        for suite in KERNELS[name]:
            config = apt_state(suite, mirror)
            pattern = r"^linux-image-[0-9].*cloud-amd64$"
            found = run("apt-cache", "search", "--names-only", pattern, config=config)
            for line in found.splitlines():
                version = line.split()[0].removeprefix("linux-image-")
                candidates.append((version_key(version), version, config))
        _, version, config = max(candidates)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            packages = kernel_packages(version, config)
            run("apt-get", "download", "-qq", *packages, cwd=Path(work), config=config)
            unpacked = Path(work) / "tree"
            for package in Path(work).glob("*.deb"):
                run("dpkg", "-x", str(package), str(unpacked))
            folder.parent.mkdir(parents=True, exist_ok=True)
            unpacked.rename(folder)
        print(f"kernel {name}: {version}")
    pack_initramfs(folder, folder.parent / f"{name}.img")


def kernel_modules(folder: Path) -> Path:
    """The `lib/modules/VERSION` folder of an unpacked kernel."""
    found = [*folder.glob("usr/lib/modules/*"), *folder.glob("lib/modules/*")]
    return found[0]


def kernel_image(folder: Path) -> Path:
    """The bootable file of an unpacked kernel: in /boot, or beside the modules from 7.x on."""
    return [*folder.glob("boot/vmlinuz*"), *kernel_modules(folder).glob("vmlinuz*")][0]


def read_module(path: Path) -> bytes:
    """A module's ELF file, unpacked: .ko, .ko.xz or .ko.zst."""
    if path.suffix == ".zst":
        return subprocess.run(
            ["zstd", "-dcq", str(path)], stdout=subprocess.PIPE, check=True
        ).stdout
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def pack_initramfs(kernel: Path, target: Path) -> None:
    """An initramfs of busybox, the modules a virtio disk needs in their order, and the init."""
    modules = kernel_modules(kernel)
    base = Path(str(modules)[: str(modules).index("/lib/modules/")])
    run("depmod", "-b", str(base), modules.name)
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        stem = Path(path).name.split(".")[0].replace("-", "_")
        needs[stem] = [path, *others.split()]
    wanted: list[str] = []
    for name in VIRTIO_MODULES:  # one that isn't listed is built in
        wanted += [path for path in reversed(needs.get(name, [])) if path not in wanted]
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work)
        for name in ("bin", "dev", "proc", "sys", "root", "modules"):
            (tree / name).mkdir()
        shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
        shutil.copy(HERE / "guest_init.sh", tree / "init")
        (tree / "init").chmod(0o755)
        names = []
        for path in wanted:
            names.append(Path(path).name.split(".ko")[0] + ".ko")
            (tree / "modules" / names[-1]).write_bytes(read_module(modules / path))
        (tree / "modules/order").write_text("".join(f"{name}\n" for name in names))
        files = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
        packed = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            cwd=tree,
            input="\n".join(files).encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        target.write_bytes(gzip.compress(packed, 1))


def project_dependencies() -> list[str]:
    """The requirements of pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    requirements: list[str] = project["dependencies"]
    return requirements


def make_root(suite: str, mirror: str) -> None:
    """Make `roots/SUITE` and `roots/SUITE.ext4`."""
    root = CACHE / "roots" / suite
    image = root.with_name(f"{suite}.ext4")
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        work = root.with_name(f".{suite}.part")
        shutil.rmtree(work, ignore_errors=True)
        expired = ['--aptopt=Acquire::Check-Valid-Until "false"'] if suite == "sid" else []
        run(
            "mmdebstrap",
            "--variant=apt",
            "--mode=root",
            f"--keyring={KEYRING}",
            f"--include={','.join(ROOT_PACKAGES)}",
            *[f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")],
            *expired,
            suite,
            str(work),
            mirror,
        )
        work.rename(root)
    if install_dependencies(root) or not image.exists():
        part = image.with_suffix(".part")
        part.unlink(missing_ok=True)
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(root), str(part), "1400M")
        part.rename(image)


def python_version(root: Path) -> str:
    """`3.11` of a root's python3."""
    link = (root / "usr/bin/python3").readlink()
    return link.name.removeprefix("python")


def install_dependencies(root: Path) -> bool:
    """Put the project's requirements into a root, for a guest has no network.

    They go where the root's Python looks for what was installed by hand, isolated (`-I`) or not.
    Returns: something changed.
    """
    version = python_version(root)
    folder = root / f"usr/local/lib/python{version}/dist-packages"
    requirements = project_dependencies()
    stamp = folder / "requirements.txt"
    text = "".join(f"{line}\n" for line in requirements)
    if stamp.exists() and stamp.read_text() == text:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    run(
        sys.executable,
        *("-m", "pip", "install", "--quiet", "--no-warn-conflicts", "--root-user-action=ignore"),
        *("--target", str(folder), "--python-version", version),
        *("--only-binary", ":all:", *requirements),
    )
    (folder / "stacks-tui.pth").write_text(f"{SITE}\n")
    stamp.write_text(text)
    return True


def prepare(kernels: tuple[str, ...], suites: tuple[str, ...]) -> None:
    """Make what is missing of these kernels and roots."""
    if os.geteuid() != 0:
        sys.exit("root folders can be made by root only; run this with sudo.")
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        sys.exit(f"tools are missing; run: apt-get install {' '.join(missing)}")
    CACHE.mkdir(parents=True, exist_ok=True)
    mirror = debian_mirror()
    for name in kernels:
        fetch_kernel(name, mirror)
    for suite in suites:
        make_root(suite, mirror)


if __name__ == "__main__":
    prepare(tuple(KERNELS), SUITES)
