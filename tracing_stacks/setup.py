"""The extension: one file for all CPython from 3.11 on. The package does without where it fails."""

from setuptools import Extension, setup

SOURCES = ["module", "span", "bound", "stack", "steps", "awaits", "greenlets"]

setup(
    ext_modules=[
        Extension(
            "tracing_stacks._spans",
            [f"python/_spans/{name}.c" for name in SOURCES],
            depends=["python/_spans/spans.h", "include/tracing_stacks.h"],
            include_dirs=["include", "python/_spans"],
            extra_compile_args=[
                "-std=c11",
                "-fvisibility=hidden",
                "-Werror=implicit-function-declaration",
            ],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
