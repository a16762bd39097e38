"""Regenerate the committed protobuf stubs from the vendored .proto files.

Run it with no argument to rewrite `src/moorage/proto`; with `--check` it generates into a
temporary directory and fails when the committed stubs differ. The vendored files are interfaces,
kept byte for byte as published: `proto/VERSION` holds their version and SHA-256, checked first.

Which fields are REQUIRED stands only in the comments of `csi.proto`, and comments do not reach the
descriptors at run time, so this program also writes them down as data (`required.py`).
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import re
import sys
import tempfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "proto"
TARGET = ROOT / "src" / "moorage" / "proto"
STEMS = ("csi",)
REQUIRED_STEM = "csi"
REQUIRED = re.compile(r"\bThis (?:field is REQUIRED|is a REQUIRED field)(?! (?:if|when|unless|only)\b)")
REQUIRED_HEADER = '''"""Generated from the comments of `proto/` by `tools/gen_proto.py`; never edited.

Message full name -> the fields whose comment says, with no condition, that the field is REQUIRED.
"""

from collections.abc import Mapping
from typing import Final

REQUIRED_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
'''
HEADER = '"""Generated from `proto/` by `tools/gen_proto.py`; never edited."""\n'


def check_vendored() -> None:
    """Exit with a sentence when a vendored file is not the one that `proto/VERSION` names."""
    for line in (SOURCE / "VERSION").read_text().splitlines():
        name, version, digest = line.split()
        found = hashlib.sha256((SOURCE / name).read_bytes()).hexdigest()
        if found != digest:
            sys.exit(f"proto/{name} is not version {version}: sha256 is {found}, expected {digest}")


def run_protoc(*arguments: str) -> None:
    """Run the compiler that grpcio-tools brings; leave with a sentence when it fails."""
    from grpc_tools import protoc  # type: ignore[import-untyped]  # grpcio-tools ships no types

    if protoc.main(["protoc", *arguments]) != 0:
        sys.exit(f"protoc failed on {arguments[-1]}; its message is above")


def generate(into: Path) -> None:
    """Write the stubs of every vendored file, and the required fields, below `into`."""
    plugins = Path(sys.executable).parent
    well_known = resources.files("grpc_tools") / "_proto"
    for stem in STEMS:
        virtual = f"moorage/proto/{stem}.proto"
        run_protoc(
            f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
            f"-Imoorage/proto={SOURCE}",
            f"-I{well_known}",
            f"--python_out={into}",
            f"--grpc_python_out={into}",
            f"--mypy_out=quiet:{into}",
            f"--mypy_grpc_out=quiet:{into}",
            virtual,
        )
    package = into / "moorage" / "proto"
    (package / "__init__.py").write_text(HEADER)
    (package / "required.py").write_text(required_module(well_known))


def required_module(well_known: Traversable) -> str:
    """The text of `required.py`, read from the comments of the CSI specification."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as described:
        run_protoc(
            f"-I{SOURCE}",
            f"-I{well_known}",
            "--include_source_info",
            f"--descriptor_set_out={described.name}",
            f"{REQUIRED_STEM}.proto",
        )
        (file,) = FileDescriptorSet.FromString(described.read()).file
    lines = [f"    {name!r}: ({', '.join(map(repr, fields))},),\n" for name, fields in required_fields(file)]
    return REQUIRED_HEADER + "".join(lines).replace("'", '"') + "}\n"


def required_fields(file: FileDescriptorProto) -> list[tuple[str, list[str]]]:
    """Every message of `file` that has required fields, by full name, with those fields in order."""
    comments = {
        tuple(location.path): " ".join(location.leading_comments.split()) for location in file.source_code_info.location
    }
    found: list[tuple[str, list[str]]] = []

    def visit(message: DescriptorProto, name: str, path: tuple[int, ...]) -> None:
        fields = [
            field.name
            for index, field in enumerate(message.field)
            if REQUIRED.search(comments.get((*path, DescriptorProto.FIELD_FIELD_NUMBER, index), ""))
        ]
        if fields:
            found.append((name, fields))
        for index, nested in enumerate(message.nested_type):
            visit(nested, f"{name}.{nested.name}", (*path, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index))

    for index, message in enumerate(file.message_type):
        visit(message, f"{file.package}.{message.name}", (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, index))
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description="Regenerate src/moorage/proto from proto/.")
    parser.add_argument("--check", action="store_true", help="fail when the committed stubs are stale")
    check = parser.parse_args().check
    check_vendored()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / "moorage" / "proto"
        names = sorted(path.name for path in fresh.iterdir() if path.is_file())
        if check:
            stale = [n for n in names if not (TARGET / n).exists() or not filecmp.cmp(fresh / n, TARGET / n, False)]
            if stale:
                sys.exit(f"stale stubs: {', '.join(stale)}; run tools/gen_proto.py and commit the result")
            print(f"{len(names)} generated files are up to date")
            return
        TARGET.mkdir(parents=True, exist_ok=True)
        for name in names:
            (TARGET / name).write_bytes((fresh / name).read_bytes())
        print(f"wrote {len(names)} files to {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
