//! What a request's head wishes of the connection itself: an interim answer, another protocol, a
//! tunnel. There is one wish that is granted, `Expect: 100-continue`, and hyper does it when the
//! body is first read: so not before whoever asks has been let in.

use http::{HeaderMap, Method, header};
use tollgate_wire::failure::Failure;

/// Refuses expectations other than `100-continue` (RFC 9110, section 10.1.1).
pub(crate) fn expectation(headers: &HeaderMap) -> Result<(), Failure> {
    let mut values = headers.get_all(header::EXPECT).iter();
    if values.all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Ok(());
    }
    let message = "the Expect header asks for what is not known here; it may ask for 100-continue";
    Err(Failure::invalid_argument(message).with_status(417))
}

/// Whether a head begins a WebSocket (RFC 6455, section 4.1). Other wishes to upgrade may be
/// ignored (RFC 9110, section 7.8), and are: clients that offer `h2c` do without it.
pub(crate) fn websocket(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::UPGRADE).iter();
    offers
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|offer| offer.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// What whoever begins a WebSocket is told.
pub(crate) fn no_websocket() -> Failure {
    Failure::unsupported("WebSocket is not spoken here; answers are streamed over plain HTTP")
}

/// Refuses to be a tunnel (RFC 9110, section 9.3.6).
pub(crate) fn no_tunnel(method: &Method) -> Result<(), Failure> {
    match *method {
        Method::CONNECT => Err(Failure::unsupported(
            "CONNECT: there is no tunnel through here",
        )),
        _ => Ok(()),
    }
}
