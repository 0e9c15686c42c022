"""What is told of authentication; all that is named here is of closed sets."""

from typing import Literal

Credential = Literal["client", "caller"]  # of the token endpoints; of all others


class AuthListener:
    """Hears of logins, sessions and failures; metrics override what they count."""

    def tokens_asked(self, result: str) -> None:
        """A request for tokens: ``opened``, ``renewed``, or an error code."""

    def authentication_failed(self, credential: Credential, limited: bool) -> None:
        """A secret, key or token was none that was given out; or there were too many of those."""

    def refresh_token_reused(self) -> None:
        """One was used that was used before."""

    def session_ended(self, reason: Literal["client", "reuse", "room"]) -> None:
        """By its client, by a refresh token that was used twice, or to make room for another."""
