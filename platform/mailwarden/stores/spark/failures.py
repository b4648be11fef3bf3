"""Spark's failures in Mailwarden's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.errors import PySparkException, PythonException

from mailwarden.errors import ContractError, StoreError


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise Spark's errors as StoreError naming what was being done; a ContractError of a worker as itself."""
    try:
        yield
    except PythonException as exc:
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        marker = f"{ContractError.__module__}.{ContractError.__name__}: "
        for line in lines:
            if line.startswith(marker):
                raise ContractError(line.removeprefix(marker)) from exc
        last = next((line for line in lines if "Error" in line.partition(":")[0]), lines[0] if lines else "")
        raise StoreError(f"a Spark worker failed while {doing}: {last}") from exc
    except PySparkException as exc:
        first = str(exc).strip().partition("\n")[0]
        raise StoreError(f"Spark failed while {doing}: {first}") from exc
