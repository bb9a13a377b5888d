"""What the network raised, as typed errors: the one place that knows aiohttp's exceptions."""

import aiohttp

from palaver.domain.errors import (
    ConfigurationError,
    ConnectionFailed,
    PalaverError,
    ProtocolViolation,
    ProviderTimeout,
    StreamTruncated,
)


def translated(error: Exception, *, in_stream: bool, closed: bool) -> PalaverError | None:
    """The typed error for what aiohttp or the operating system raised; None when it is unknown."""
    if closed and isinstance(error, TimeoutError | aiohttp.ClientError):
        return ConnectionFailed("the attempt was closed", in_stream=in_stream)
    match error:
        case aiohttp.ConnectionTimeoutError():
            return ProviderTimeout("no connection in time", clock="connect")
        case TimeoutError():
            return ProviderTimeout(
                "the provider did not begin to answer in time", clock="first_token"
            )
        case aiohttp.InvalidURL():
            return ConfigurationError("the provider's address is not a valid URL")
        case aiohttp.ClientConnectorDNSError():
            return ConnectionFailed(f"the name {error.host} cannot be resolved")
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError():
            return ConnectionFailed(
                f"no secure connection to {error.host}: {error.__cause__ or ''}",
                should_retry=False,  # a certificate does not become good by asking again
            )
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return ConnectionFailed("the proxy cannot be reached or refuses the connection")
        case aiohttp.ClientConnectorError():
            return ConnectionFailed(f"no connection to {error.host}:{error.port}")
        case aiohttp.ClientResponseError() | aiohttp.http.HttpProcessingError():
            return ProtocolViolation("the answer is not valid HTTP", in_stream=in_stream)
        case ValueError() if not in_stream:
            # Its text may quote a header, and so the key.
            return ConfigurationError("the request cannot be sent: check the key and the address")
        case aiohttp.ClientError() | OSError() if in_stream:
            return StreamTruncated("the connection broke in mid-answer", in_stream=True)
        case aiohttp.ClientError() | OSError():
            return ConnectionFailed("the connection broke before the answer began")
        case _:
            return None
