"""A run of an agent and its steps: who calls, for how much money, and what became of it."""

from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fwsdk import types
from fwsdk._clock import fresh_id
from fwsdk._money import UNKNOWN, ZERO, Money
from fwsdk._scope import current
from fwsdk._spans import ScopeSpan, agent_span, step_span
from fwsdk._verify import Check

if TYPE_CHECKING:
    from fwsdk.types.explain import Explanation
    from fwsdk.types.outcomes import OutcomeReceipt, OutcomeReport

Report = Callable[["OutcomeReport"], Awaitable["OutcomeReceipt"]]
Ask = Callable[[str], Awaitable["Explanation"]]


class Step:
    """One step of a run, open while its `with` (or `async with`) block runs."""

    def __init__(self, open_: Callable[[], ScopeSpan]) -> None:
        """Made by `run.step`."""
        self._open = open_
        self._span: ScopeSpan | None = None

    def skip(self) -> None:
        """Say that the step turned out not to be needed."""
        if self._span is not None:
            self._span.end(outcome="skipped")

    def __enter__(self) -> Self:
        self._span = self._open()
        self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is not None:
            self._span.__exit__(kind, exc, traceback)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, exc, traceback)


class AsyncRun:
    """One run of an agent. `async with fw.run("coding") as run:`; its calls inherit the innermost step."""

    def __init__(
        self,
        agent: str,
        *,
        report: Report,
        ask: Ask,
        budget: Money | str | float | None = None,
        thread: str | None = None,
        labels: Mapping[str, str] | None = None,
        policy: str | None = None,
        id: str | None = None,  # noqa: A002 - the field's own name
    ) -> None:
        """Made by `client.run`."""
        self.id: str = id or fresh_id("run")
        self.agent: str = agent
        self._open: Callable[[], ScopeSpan] = lambda: agent_span(
            agent, run=self.id, thread=thread, budget=budget, labels=labels, policy=policy or ""
        )
        if budget is not None:
            Money.of(budget)
        self._report = report
        self._ask = ask
        self._span: ScopeSpan | None = None

    @property
    def cost(self) -> Money:
        """What the calls of this run have cost so far, as told by the gateway; unknown as soon as one of them is."""
        if self._span is None:
            return ZERO
        return UNKNOWN if self._span.account is None else self._span.account.cost

    def step(
        self,
        name: str,
        *,
        attempt: int = 1,
        index: int | None = None,
        task: str = "",
        path: str = "",
        verify: Check | None = None,
    ) -> Step:
        """A step of this run: `with run.step("plan"):`. `attempt` > 1: it is being repeated; `index` None: the next one.

        `verify`: a function of the reply that says whether it may count. Each call of the step returns the first answer that
        it accepts; a rejected one makes the gateway go on with its plan. See `Reply.verified`.
        """
        return Step(lambda: step_span(name, attempt=attempt, index=index, task=task, path=path, verify=verify))

    async def outcome(self, /, **named: bool | float) -> "OutcomeReceipt":
        """Say what became of the run, or of the step this is said in: `tests_pass=True`, `rating=0.8`.

        Raises:
            FwError: the gateway did not take it.
        """
        scope = current()
        inside = scope.step if scope.run == self.id else ""
        report = types.outcomes.OutcomeReport(
            outcomes=named, run=self.id, agent=self.agent, step=inside or None, key=fresh_id("outcome")
        )
        return await self._report(report)

    async def explain(self) -> "Explanation":
        """What was done in this run, why, and what it cost; prints as a tree.

        Raises:
            NotFound: the gateway knows of no call of this run.
        """
        return await self._ask(self.id)

    def enter(self) -> None:
        """What `async with` does first; nothing is awaited."""
        self._span = self._open()
        self._span.__enter__()

    def leave(self, exc: BaseException | None) -> None:
        """What `async with` does last; nothing is awaited."""
        if self._span is not None:
            self._span.__exit__(None if exc is None else type(exc), exc, None)

    async def __aenter__(self) -> Self:
        self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.leave(exc)
