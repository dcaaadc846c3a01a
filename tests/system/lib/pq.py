"""PostgreSQL for tests: the few functions of libpq that they need, by ctypes, so that no driver has to be installed for whichever Python
runs them. A call lets other threads run while it waits for the server."""
import ctypes

_lib = None
_NOTICE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
_silent = _NOTICE(lambda _, text: None)
_READERS = {16: lambda text: text == "t", 17: lambda text: bytes.fromhex(text[2:]), 700: float, 701: float,
            **dict.fromkeys((20, 21, 23, 26), int)}
_TUPLES_OK, _FINE = 2, {0, 1, 2, 3, 4, 8}  # statuses of a result


class Notification(ctypes.Structure):
    _fields_ = [("channel", ctypes.c_char_p), ("pid", ctypes.c_int), ("text", ctypes.c_char_p)]


def lib():
    global _lib
    if _lib is None:
        _lib = ctypes.CDLL("libpq.so.5")
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        for name, result, arguments in (
                ("PQconnectdb", pointer, [text]), ("PQstatus", number, [pointer]), ("PQerrorMessage", text, [pointer]),
                ("PQfinish", None, [pointer]), ("PQexec", pointer, [pointer, text]), ("PQclear", None, [pointer]),
                ("PQexecParams", pointer, [pointer, text, number, pointer, ctypes.POINTER(text), pointer, pointer, number]),
                ("PQresultStatus", number, [pointer]), ("PQresultErrorField", text, [pointer, number]),
                ("PQresultErrorMessage", text, [pointer]), ("PQntuples", number, [pointer]), ("PQnfields", number, [pointer]),
                ("PQftype", ctypes.c_uint, [pointer, number]), ("PQgetisnull", number, [pointer, number, number]),
                ("PQgetvalue", text, [pointer, number, number]), ("PQbackendPID", number, [pointer]),
                ("PQconsumeInput", number, [pointer]), ("PQnotifies", ctypes.POINTER(Notification), [pointer]),
                ("PQfreemem", None, [pointer]), ("PQtransactionStatus", number, [pointer]), ("PQsetNoticeProcessor", pointer, [pointer, _NOTICE, pointer])):
            function = getattr(_lib, name)
            function.restype, function.argtypes = result, arguments
    return _lib


class Error(Exception):
    """`state` is the SQLSTATE, or None when the server said nothing: the connection is broken, and the outcome may be unknown."""

    def __init__(self, text, state=None):
        super().__init__(text.strip())
        self.state = state


class Connection:
    """Commits each statement by itself unless told otherwise by BEGIN. Values are passed as text; NULL is None."""

    def __init__(self, url):
        self.handle = lib().PQconnectdb(url.encode())
        if lib().PQstatus(self.handle) != 0:
            text = lib().PQerrorMessage(self.handle).decode(errors="replace")
            self.close()
            raise Error(text)
        lib().PQsetNoticeProcessor(self.handle, _silent, None)

    def __call__(self, sql, *values):
        """The rows of one statement; without values also of several, of which the last one's rows are returned."""
        if values:
            words = (ctypes.c_char_p * len(values))(*[None if it is None else str(it).encode() for it in values])
            result = lib().PQexecParams(self.handle, sql.encode(), len(values), None, words, None, None, 0)
        else:
            result = lib().PQexec(self.handle, sql.encode())
        try:
            if lib().PQresultStatus(result) not in _FINE:
                state = lib().PQresultErrorField(result, ord("C"))
                text = lib().PQresultErrorMessage(result) or lib().PQerrorMessage(self.handle)
                raise Error(text.decode(errors="replace"), state.decode() if state else None)
            return self._rows(result) if lib().PQresultStatus(result) == _TUPLES_OK else []
        finally:
            lib().PQclear(result)

    @staticmethod
    def _rows(result):
        readers = [_READERS.get(lib().PQftype(result, column), str) for column in range(lib().PQnfields(result))]
        return [tuple(None if lib().PQgetisnull(result, row, column) else read(lib().PQgetvalue(result, row, column).decode())
                      for column, read in enumerate(readers)) for row in range(lib().PQntuples(result))]

    def value(self, sql, *values):
        """The one value of the one row, or None."""
        rows = self(sql, *values)
        return rows[0][0] if rows else None

    def notifications(self):
        """The channels of the notifications that came with the last answers."""
        channels = []
        lib().PQconsumeInput(self.handle)
        while it := lib().PQnotifies(self.handle):
            channels.append(it.contents.channel.decode())
            lib().PQfreemem(it)
        return channels

    @property
    def pid(self):
        return lib().PQbackendPID(self.handle)

    @property
    def in_transaction(self):
        return lib().PQtransactionStatus(self.handle) in (2, 3)

    def close(self):
        if self.handle:
            lib().PQfinish(self.handle)
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
