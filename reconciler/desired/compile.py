"""A commit's tree in, everything that it wants out, with all problems. Costs what differs from the tree that the index has compiled.

`compile_tree` gives a view of a tree and leaves the index as it is; `settle` brings the index to a tree. Both look at each host that the
difference reaches once, in chunks, and hand those that resolve to a `Visitor`. A document that is wrong is unknown, never absent:
`Desired.blocked` names the hosts that depend on one, and `Desired.sound` says whether anything may be deleted.
"""

from reconciler.desired.build import Build
from reconciler.desired.compiler import Compiler
from reconciler.desired.contribution import Contract
from reconciler.desired.desired import Desired
from reconciler.desired.difference import Tree
from reconciler.desired.resolve import Token
from reconciler.desired.view import View
from reconciler.desired.visitor import SILENT, Visitor
from reconciler.index.file import Index


def compile_tree(
    tree: Tree, contract: Contract, token: Token, index: Index | None = None, visit: Visitor = SILENT, *, keep: bool = True
) -> Desired:
    """Everything that the files of the tree want. Problems of manifests are in the result; raises `InputError` for an ignore file that cannot be read.
    The index stays as it is, unless it has no tree to compare with: then it is settled, or with `keep` false left alone all the same.
    """
    index = index or Index(None, "0" * 64)
    compiler = Compiler(index, tree, contract, token)
    found = compiler.difference()
    if found is None:
        return settle(tree, contract, token, index if keep else Index(None, "0" * 64), visit)
    return View(compiler, found, visit).desired()


def settle(tree: Tree, contract: Contract, token: Token, index: Index, visit: Visitor = SILENT) -> Desired:
    """As `compile_tree`, and the index has compiled this tree from now on. Raises sqlite3.OperationalError if another process is at it for too long."""
    with index.writing():
        compiler = Compiler(index, tree, contract, token)  # another process may just have settled it
        found = compiler.difference()
        if found is None:
            Build(compiler, visit).go()
            compiler.finish(None)
        else:
            view = View(compiler, found, visit, settle=True)
            compiler.finish(len(view.desired().hosts))
    return compile_tree(tree, contract, token, index, visit)  # another process may just have settled another one
