"""Optuna's dashboard on any runs, which grow there while they go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Event, Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.storages import InMemoryStorage

from searchmerge.study import Mirror, journals
from searchmerge.types import UserError

EVERY = 2.0
"""Seconds between two looks at the journals; the page itself asks for news about as often."""


class Board:
    """All runs in some folders and below them, each a study of one storage, named by its place.

    Args:
        folders: where to look.
        say: told which journals cannot be read; each is named once, and then left alone.

    Attributes:
        storage: with the studies.

    Raises:
        UserError: a folder that is not there.
    """

    def __init__(self, folders: Iterable[Path], say: Callable[[str], None] = lambda _: None) -> None:
        self.storage = InMemoryStorage()
        self._folders = [folder.resolve() for folder in folders]
        for folder in self._folders:
            if not folder.is_dir():
                raise UserError(
                    expected="folders with runs in them",
                    got=f"{folder}: no such folder",
                    cure="check the path",
                )
        self._say = say
        self._mirrors: dict[Path, Mirror] = {}
        self._given_up: set[Path] = set()

    @property
    def studies(self) -> list[optuna.Study]:
        """The runs that have begun."""
        return [mirror.study for mirror in self._mirrors.values() if mirror.study]

    def look(self) -> None:
        """Find new runs, and add what all of them have tried since the last time."""
        for path in self._found():
            known = self._mirrors.pop(path, None)
            mirror = known or Mirror(path, self.storage, self._name(path))
            try:
                mirror.catch_up()
            except UserError as error:
                self._trouble(path, known, error)
            except KeyError:
                self._given_up.add(path)  # deleted in the browser
            else:
                self._mirrors[path] = mirror

    def _trouble(self, path: Path, known: Mirror | None, error: UserError) -> None:
        if known and known.study:
            # Another run may have begun in that folder: the next look reads it from its beginning.
            optuna.delete_study(study_name=known.study.study_name, storage=self.storage)
        else:
            self._given_up.add(path)
            self._say(f"{path} is left out: expected {error.expected}, got {error.got}")

    def _found(self) -> list[Path]:
        found = dict.fromkeys(path for folder in self._folders for path in journals(folder))
        return [path for path in found if path not in self._given_up]

    def _name(self, path: Path) -> str:
        """The run's folder, from where all the given ones are."""
        return str(path.parent.relative_to(os.path.commonpath([folder.parent for folder in self._folders])))


def serve(folders: Iterable[Path], host: str, port: int, say: Callable[[str], None]) -> None:
    """Show runs in a browser until Ctrl-C.

    Args:
        folders: with runs in them or below.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        say: told the address, and what cannot be read.

    Raises:
        UserError: optuna-dashboard is not installed, there are no runs, or the port is taken.
    """
    board = Board(folders, say)
    server = _server(board, host, port)
    board.look()
    if not board.studies:
        raise UserError(
            expected="folders with runs in them: a journal.jsonl, at any depth",
            got="none that can be read",
            cure="start a run first, or check the path",
        )
    done = Event()
    follower = Thread(target=_follow, args=(board, done), daemon=True)
    follower.start()
    runs = len(board.studies)
    try:
        say(f"{runs} run{'s' * (runs > 1)} at http://{host}:{server.server_port}/, Ctrl-C ends it")
        server.serve_forever()
    except KeyboardInterrupt:
        say("")
    finally:
        done.set()
        server.server_close()
        follower.join()


def _follow(board: Board, done: Event) -> None:
    while not done.wait(EVERY):
        board.look()


class _Server(ThreadingMixIn, WSGIServer):
    """One thread a request: a page asks for several things at once."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """Logs nothing: an open page asks every few seconds."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        pass


def _server(board: Board, host: str, port: int) -> WSGIServer:
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise UserError(
            expected="optuna-dashboard",
            got=str(error),
            cure='pip install "searchmerge[dashboard]"',
        ) from error
    try:
        return make_server(host, port, wsgi(board.storage), server_class=_Server, handler_class=_Silent)
    except OSError as error:
        raise UserError(
            expected=f"to listen on {host}:{port}",
            got=error.strerror or str(error),
            cure="choose another --port or --host",
        ) from error
