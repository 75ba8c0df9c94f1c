/* why: every way an exchange or a connection may end or be refused, once.
 * A row: name, status for the client (0: none of ours), the Proxy-Status
 * error token (RFC 9209 2.3, "" for none), and what to tell a person.
 * The name in lower case with dashes is the reason in logs and metrics. */
#ifndef GROUND_WHY_H
#define GROUND_WHY_H

#include <stdint.h>

#define WHY_TABLE(row) \
	row(DONE,               0,   "", "finished") \
	row(CLIENT_GONE,        0,   "", "the client closed the connection") \
	row(CLIENT_IDLE,        0,   "", "idle for too long") \
	row(DRAINING,           0,   "", "retrywith is shutting down") \
	row(LOGIN_LOST,         0,   "", "the connection that carried the client's login was closed") \
	row(ANSWERED_HERE,      200, "", "answered by the proxy itself") \
	row(BAD_LINE,           400, "http_request_error", "malformed request line") \
	row(BAD_TARGET,         400, "http_request_error", "malformed request target") \
	row(BAD_HOST,           400, "http_request_error", "missing, repeated or malformed Host") \
	row(ELSEWHERE,          400, "http_request_error", "the request names another host than its CONNECT") \
	row(BAD_FIELD,          400, "http_request_error", "malformed header field") \
	row(BAD_FRAMING,        400, "http_request_error", "ambiguous or invalid message length") \
	row(BAD_CHUNK,          400, "http_request_error", "malformed chunked body") \
	row(BAD_TRAILER,        400, "http_request_error", "malformed trailer field") \
	row(INCOMPLETE,         400, "http_request_error", "the request ended before it was complete") \
	row(NOT_A_PROXY_REQUEST, 400, "http_request_error", "this is a proxy: send an absolute URL, or set `origin`") \
	row(NO_PORT,            400, "http_request_error", "CONNECT wants host:port") \
	row(BAD_SCHEME,         400, "http_request_error", "only http:// and https:// are forwarded") \
	row(NUMERIC_HOST,       400, "http_request_error", "unusual spelling of an IP address") \
	row(DENIED_CLIENT,      403, "http_request_denied", "this client may not use the proxy (see `allow`)") \
	row(DENIED_PORT,        403, "http_request_denied", "CONNECT to this port is not allowed (see `connect-ports`)") \
	row(DENIED_URL_PORT,    403, "http_request_denied", "no HTTP is spoken on this port (see `deny-ports`)") \
	row(DENIED_TARGET,      403, "destination_ip_prohibited", "this destination is not allowed (see `deny-to`, `allow-to`)") \
	row(DENIED_FORWARD,     403, "http_request_denied", "this instance serves its `origin` only") \
	row(WANTS_AUTH,         407, "http_request_denied", "proxy authentication is required") \
	row(HEAD_TIMEOUT,       408, "http_request_error", "the request head did not arrive in time") \
	row(BODY_TIMEOUT,       408, "http_request_error", "the request body did not arrive in time") \
	row(EXTENSIONS_TOO_BIG, 413, "http_request_error", "too many chunk extensions") \
	row(LENGTH_TOO_BIG,     413, "http_request_error", "Content-Length beyond 2^63") \
	row(TARGET_TOO_LONG,    414, "http_request_error", "request target too long") \
	row(HEAD_TOO_BIG,       431, "http_request_error", "request header section too large") \
	row(OUT_OF_MEMORY,      503, "proxy_internal_error", "out of memory") \
	row(NO_METHOD,          501, "http_request_error", "method name too long") \
	row(NO_CODING,          501, "http_request_error", "transfer coding not supported") \
	row(NO_VERSION,         505, "http_request_error", "HTTP version not supported") \
	row(TOO_MANY_CLIENTS,   503, "connection_limit_reached", "too many clients") \
	row(OVERLOADED,         503, "connection_limit_reached", "out of descriptors") \
	row(MEMORY_FULL,        503, "proxy_internal_error", "too much is under way (see `memory-total`)") \
	row(NAME_NOT_FOUND,     502, "dns_error", "the host name does not resolve") \
	row(NAME_FAILED,        502, "dns_error", "the name server failed") \
	row(NAME_TIMEOUT,       504, "dns_timeout", "the name server did not answer") \
	row(UNROUTABLE,         502, "destination_ip_unroutable", "no route to the upstream server") \
	row(REFUSED,            502, "connection_refused", "the upstream server refused the connection") \
	row(CONNECT_TIMEOUT,    504, "connection_timeout", "the upstream server did not accept the connection in time") \
	row(CONNECT_FAILED,     502, "destination_unavailable", "the connection to the upstream server failed") \
	row(UPSTREAM_CLOSED,    502, "connection_terminated", "the upstream server closed the connection before it answered") \
	row(UPSTREAM_SILENT,    504, "http_response_timeout", "the upstream server did not answer in time") \
	row(UPSTREAM_STALLED,   504, "connection_read_timeout", "the upstream server stopped in mid-response") \
	row(UPSTREAM_DEAF,      504, "connection_write_timeout", "the upstream server does not take the request") \
	row(TLS_FAILED,         502, "tls_protocol_error", "the TLS handshake with the upstream server failed") \
	row(TLS_ALERT,          502, "tls_alert_received", "the upstream server refused the TLS handshake") \
	row(TLS_CERTIFICATE,    502, "tls_certificate_error", "the upstream server's certificate is not acceptable") \
	row(BAD_RESPONSE,       502, "http_protocol_error", "malformed response") \
	row(BAD_RESPONSE_LENGTH, 502, "http_protocol_error", "ambiguous or invalid response length") \
	row(BAD_RESPONSE_CODING, 502, "http_response_transfer_coding", "malformed transfer coding in the response") \
	row(RESPONSE_HEAD_TOO_BIG, 502, "http_response_header_section_size", "response header section too large") \
	row(RESPONSE_TRAILER_TOO_BIG, 502, "http_response_trailer_section_size", "response trailer section too large") \
	row(RESPONSE_INCOMPLETE, 502, "http_response_incomplete", "the response ended before it was complete") \
	row(TOO_MANY_INTERIM,   502, "http_protocol_error", "too many interim responses") \
	row(BAD_UPGRADE,        502, "http_upgrade_failed", "the upstream server switched protocols unasked") \
	row(PARENT_AUTH,        502, "proxy_configuration_error", "the parent proxy wants other credentials (see `parent`)") \
	row(PARENT_REFUSED,     502, "proxy_configuration_error", "the parent proxy refused the tunnel") \
	row(MINT_FAILED,        502, "proxy_internal_error", "no certificate could be made to show to the client") \
	row(LOOP,               502, "proxy_loop_detected", "the request came back to this proxy") \
	row(UNANSWERED,         502, "proxy_configuration_error", "449 Retry With that could not be answered (see `on-unanswered`)") \
	row(INTERNAL,           500, "proxy_internal_error", "internal error")

#define WHY_ENUM(name, status, token, text) WHY_##name,
enum why { WHY_TABLE(WHY_ENUM) WHY_COUNT };
#undef WHY_ENUM

uint16_t why_status(enum why why);
const char *why_token(enum why why);	/* "" for none */
const char *why_text(enum why why);
const char *why_name(enum why why);	/* "bad-line" */

#endif
