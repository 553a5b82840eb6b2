"""Writes docs/_inventories/: where the public documentation of other projects has the names that our pages link to.

python docs/make_inventories.py numpy pytensor jax python

Building the site needs no network, so these are committed. Python's is the inventory that its documentation comes with
(Debian: apt-get install python3-doc). The other packages bring none: theirs is made here, of names that the installed
package has, at the addresses at which their documentation has such names. An inventory says which version that was.
Each is made where its package is installed; a name that is not in the package is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from inspect import isclass
from pathlib import Path
from types import ModuleType

import sphobjinv

HERE = Path(__file__).parent / "_inventories"
PYTHON = Path(f"/usr/share/doc/python{sys.version_info[0]}.{sys.version_info[1]}/html/objects.inv")

#: Project -> module -> page -> its names, "*" being all public functions of the module. In a page, {} is the name with
#: its module; behind a page comes "#" and that name.
PAGES: dict[str, dict[str, dict[str, str]]] = {
    "numpy": {
        "numpy": {
            "reference/generated/{}.html": "* ndarray dtype",
            "reference/arrays.scalars.html": "float16 float32 float64 generic integer bool_ complex64 complex128",
        },
        "numpy.linalg": {"reference/generated/{}.html": "*"},
        "numpy.random": {
            "reference/random/generator.html": "Generator default_rng",
            "reference/random/bit_generators/generated/{}.html": "SeedSequence",
        },
    },
    "pytensor": {
        "pytensor": {"library/index.html": "function shared scan"},
        "pytensor.tensor": {
            "library/tensor/basic.html": "scalar vector row col matrix tensor3 tensor4 TensorType TensorVariable"
            " TensorConstant as_tensor_variable shape reshape flatten stack concatenate zeros ones max min argmax",
        },
        "pytensor.compile.builders": {"library/compile/opfromgraph.html": "OpFromGraph"},
        "pytensor.compile.mode": {"library/compile/mode.html": "Mode"},
        "pytensor.graph.basic": {"library/graph/graph.html": "Variable Apply Constant"},
    },
    "jax": {
        "jax": {
            "_autosummary/{}.html": "Array jit grad value_and_grad vmap jvp vjp jacobian jacfwd jacrev checkpoint pmap"
            " make_jaxpr eval_shape disable_jit custom_jvp custom_vjp",
        },
        "jax.numpy": {"_autosummary/{}.html": "*"},
        "jax.random": {"_autosummary/{}.html": "*"},
        "jax.lax": {"_autosummary/{}.html": "stop_gradient scan"},
    },
}


def objects(modules: dict[str, dict[str, str]]) -> Iterator[sphobjinv.DataObjStr]:
    """Every name of a project."""
    for path, pages in modules.items():
        module = import_module(path)
        for page, words in pages.items():
            for word in dict.fromkeys(name for listed in words.split() for name in _meant(module, listed)):
                full = f"{path}.{word}"
                role = "class" if isclass(getattr(module, word)) else "function"
                uri = f"{page.format(full)}#$"
                yield sphobjinv.DataObjStr(name=full, domain="py", role=role, priority="1", uri=uri, dispname="-")


def _meant(module: ModuleType, word: str) -> list[str]:
    """A name, or for "*" all public functions of a module, which may be callable objects."""
    if word != "*":
        return [word]
    names = [name for name in getattr(module, "__all__", dir(module)) if not name.startswith("_")]
    values = {name: getattr(module, name) for name in names}
    return [name for name, value in values.items() if callable(value) and not isclass(value)]


def write(project: str) -> None:
    """Write the inventory of a project."""
    if project == "python":
        inventory = sphobjinv.Inventory(fname_zlib=str(PYTHON))
    else:
        inventory = sphobjinv.Inventory()
        inventory.project, inventory.version = project, version(project)
        inventory.objects.extend(objects(PAGES[project]))
    text = sphobjinv.compress(inventory.data_file())
    sphobjinv.writebytes(str(HERE / f"{project}.inv"), text)
    print(f"{project} {inventory.version}: {inventory.count} names, {len(text)} bytes")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(name)
