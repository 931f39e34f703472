"""How large a request may be, in what form it may come, and how many may be under way."""

from aiohttp import web

from fw_gateway.errors import BadRequest, BodyTooLarge, Draining, Unsupported

_MIB = 2**20


class Limits:
    """Checks before reading, counts while reading."""

    def __init__(self, max_body: int, max_in_flight: int) -> None:
        """Bytes of one body; requests under way."""
        self.max_body = max_body
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.draining = False

    def admit(self, request: web.Request) -> None:
        """Refuse what will not be read.

        Raises:
            BadRequest, BodyTooLarge, Unsupported, Draining: by name.
        """
        if request.method == "POST":
            encoding = request.headers.get("Content-Encoding")
            if encoding and encoding.lower() != "identity":
                hint = "Send it uncompressed."
                raise Unsupported(f"A body in Content-Encoding {encoding[:40]} is not accepted.", hint=hint)
            length = request.content_length
            if length is not None and length > self.max_body:
                raise self._too_large(length)
        if self.draining:
            raise Draining("This server is going down.", hint="Another one takes over; try again.", retry_after=1.0)
        if self.in_flight >= self.max_in_flight:
            raise Draining(f"{self.in_flight} requests are under way already.", hint="Try again.", retry_after=1.0)

    async def read(self, request: web.Request) -> bytes:
        """The body.

        Raises:
            BodyTooLarge: it turned out to be over the limit.
            BadRequest: it ended early, or its framing is broken.
        """
        try:
            return await request.read()
        except web.HTTPRequestEntityTooLarge as fault:
            raise self._too_large(getattr(fault, "actual_size", None)) from None
        except web.RequestPayloadError as fault:
            raise BadRequest(f"The body cannot be read: {fault}.") from None

    def _too_large(self, size: int | None) -> BodyTooLarge:
        about = f"{size / _MIB:.1f} MiB is" if size else "The body is"
        return BodyTooLarge(
            f"{about} over the limit of {self.max_body / _MIB:g} MiB.", hint="Send less, or raise server.max_body."
        )
