"""Who is calling: service keys for everything, client secrets for sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from antiphon.errors import ApiError
from antiphon.platform.keys import KEY_PREFIX, Principal, ServiceKeys
from antiphon.platform.secrets import SECRET_PREFIX, ClientSecrets
from antiphon.platform.tables import DEFAULT_PROJECT_ID
from antiphon.platform.tokens import SHOWN_LENGTH

__all__ = ["Admission", "Authenticator", "Caller", "bearer", "require_principal"]

_ANONYMOUS = Principal(DEFAULT_PROJECT_ID, None)


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to open a session.

    Attributes:
        principal: Who opens it.
        session_config: What a client secret was bound to; None for a caller with a service key.
    """

    principal: Principal
    session_config: dict[str, Any] | None


class Authenticator:
    """Tells callers by their credentials.

    Args:
        keys: The service keys.
        secrets: The client secrets.
        allow_anonymous: Serve callers without a credential of ours in the default project. Many SDKs
            insist on some key, so one that is not ours is none; one of ours must still be good.
    """

    def __init__(self, keys: ServiceKeys, secrets: ClientSecrets, *, allow_anonymous: bool = False) -> None:
        self._keys = keys
        self._secrets = secrets
        self._allow_anonymous = allow_anonymous

    async def principal(self, credential: str | None) -> Principal:
        """Admit a REST call.

        Args:
            credential: The key that was sent, or None.

        Raises:
            ApiError: 401; the key is missing or not good.
        """
        if credential is not None and (principal := await self._keys.verify(credential)) is not None:
            return principal
        return self._anonymous(credential)

    async def admit(self, credential: str | None) -> Admission:
        """Admit a session: like :meth:`principal`, and by client secret too.

        Raises:
            ApiError: 401; the credential is missing, not good or expired.
        """
        if credential is not None and credential.startswith(SECRET_PREFIX):
            secret = await self._secrets.redeem(credential)
            if secret is not None:
                return Admission(Principal(secret.project_id, secret.id), secret.session_config)
        return Admission(await self.principal(credential), None)

    def _anonymous(self, credential: str | None) -> Principal:
        ours = credential is not None and credential.startswith((KEY_PREFIX, SECRET_PREFIX))
        if self._allow_anonymous and not ours:
            return _ANONYMOUS
        if not credential:
            raise ApiError(
                401,
                "You didn't provide an API key. Send it in an Authorization header, "
                "'Authorization: Bearer ak_...', or as 'x-api-key: ak_...'; "
                "'antiphon keys create' makes one.",
                code="missing_api_key",
            )
        # What is shown is at most what the key list shows of a key of ours; a stranger's may be a secret.
        shown = credential[:SHOWN_LENGTH] if ours else credential[:3]
        raise ApiError(401, f"Incorrect API key provided: {shown}***.", code="invalid_api_key")


def bearer(authorization: str | None) -> str | None:
    """The credential in an Authorization header, or None when there is none of the Bearer scheme."""
    scheme, _, credential = (authorization or "").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


async def require_principal(
    request: Request,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    x_api_key: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Principal:
    """FastAPI dependency: the caller, by ``Authorization: Bearer`` or ``x-api-key``.

    Raises:
        ApiError: 401; the key is missing or not good.
    """
    authenticator: Authenticator = request.app.state.auth
    return await authenticator.principal(bearer(authorization) or x_api_key or None)


Caller = Annotated[Principal, Depends(require_principal)]
