//! What a failure of etcd means, in plain words: what happened, why, and what to do.
//!
//! etcd and its transport tell causes by codes and texts that only their authors know. The operator
//! who reads the message has a fleet that does not follow its registry.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::CertificateError;
use tonic::{Code, ConnectError, Status};

use crate::store::StoreError;

/// A port that does not speak TLS.
const NO_TLS: &str = "does not speak TLS on this port: name the port that does, or leave out ca=, \
                      cert=, key= and tls=";

/// Who asks, and for what: the messages name it.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) user: Option<String>,
    pub(super) has_certificate: bool,
    pub(super) tls: bool,
    /// The prefix of all keys.
    pub(super) prefix: String,
}

/// Why an endpoint did not answer as asked.
pub(super) struct Failure {
    /// `HOST:PORT`.
    pub(super) endpoint: String,
    /// Whether its connection may have been made for this call.
    pub(super) is_new: bool,
    pub(super) cause: Cause,
}

pub(super) enum Cause {
    /// No answer came within this time.
    TimedOut(Duration),
    /// etcd or the transport said this.
    Status(Status),
    /// etcd does not accept the user with the password.
    Login(Status),
    /// The answer cannot be read.
    Broken(String),
}

impl Cause {
    /// Whether another endpoint may answer.
    pub(super) fn is_of_endpoint(&self) -> bool {
        match self {
            Self::TimedOut(_) | Self::Broken(_) => true,
            Self::Login(_) => false,
            Self::Status(status) => matches!(
                status.code(),
                Code::Unavailable
                    | Code::Unknown
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Internal
                    | Code::Aborted
                    | Code::Unimplemented
            ),
        }
    }

    /// The same as the answer to a login.
    pub(super) fn of_login(self) -> Self {
        match self {
            Self::Status(status) => Self::Login(status),
            other => other,
        }
    }

    /// Whether etcd does not know who asks. Its codes are those of other errors as well.
    pub(super) fn is_about_login(&self) -> bool {
        let Self::Status(status) = self else { return false };
        match status.code() {
            Code::Unauthenticated => true,
            Code::InvalidArgument => {
                let text = status.message();
                text.contains("user name is empty") || text.contains("auth store is old")
            }
            _ => false,
        }
    }
}

/// How a failure is told apart from others.
enum Kind {
    Unreachable,
    Refused,
    Unwritable,
    Damaged,
}

impl Asker {
    /// Says what the failures of one call mean. The last one decides what kind of error it is.
    pub(super) fn explain(&self, failures: &[Failure]) -> StoreError {
        let mut kind = Kind::Unreachable;
        let mut texts: Vec<String> = Vec::new();
        for failure in failures {
            let (of, what) = self.words(failure);
            let text = format!("etcd at {} {what}", failure.endpoint);
            kind = of;
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = texts.join("; ");
        match kind {
            Kind::Unreachable => StoreError::Unreachable(text),
            Kind::Refused => StoreError::Refused(text),
            Kind::Unwritable => StoreError::Unwritable(text),
            Kind::Damaged => StoreError::Damaged(text),
        }
    }

    fn words(&self, failure: &Failure) -> (Kind, String) {
        match &failure.cause {
            Cause::TimedOut(patience) => {
                let text = format!("did not answer within {} s", patience.as_secs());
                (Kind::Unreachable, text)
            }
            Cause::Broken(what) => (Kind::Damaged, format!("is not understood: {what}")),
            Cause::Login(status) => (Kind::Refused, self.login(status)),
            Cause::Status(status) => self.status(failure, status),
        }
    }

    fn login(&self, status: &Status) -> String {
        let (user, text) = (self.user.as_deref().unwrap_or_default(), brief(status.message()));
        format!(
            "does not accept the user `{user}` with the password: {text}: check user= and the file \
             of password-file="
        )
    }

    fn status(&self, failure: &Failure, status: &Status) -> (Kind, String) {
        let text = brief(status.message());
        if failure.cause.is_about_login() {
            return (Kind::Refused, self.stranger(&text));
        }
        match status.code() {
            Code::PermissionDenied => (Kind::Refused, self.no_right(&text)),
            Code::ResourceExhausted if text.contains("space exceeded") => {
                let what = "compact and defragment it, then disarm the alarm, with etcdctl";
                (Kind::Unwritable, format!("has used up its space: {text}: {what}"))
            }
            Code::ResourceExhausted | Code::OutOfRange if text.contains("decoded message") => {
                (Kind::Damaged, format!("has a value longer than any of a registry: {text}"))
            }
            Code::InvalidArgument if text.contains("request is too large") => {
                let what = "raise its --max-request-bytes to 1.5 MiB, the default";
                (Kind::Unwritable, format!("refuses so long a request: {text}: {what}"))
            }
            _ => self.transport(failure, status, &text),
        }
    }

    fn stranger(&self, text: &str) -> String {
        let what = match (&self.user, self.has_certificate) {
            (Some(_), _) => "it has a login, and does not keep it: look at the log of etcd",
            (None, true) => {
                "make a user of etcd whose name is the common name of the certificate of cert=, or \
                 add user= and password-file="
            }
            (None, false) => "add user= and password-file= to the location, or cert= and key=",
        };
        format!("wants to know who asks: {text}: {what}")
    }

    fn no_right(&self, text: &str) -> String {
        let Self { user, prefix, .. } = self;
        let user = match user {
            Some(user) => format!("the user `{user}`"),
            None => "the user of this certificate".to_owned(),
        };
        format!(
            "does not let {user} do that: {text}: give a role of the user the right, read for a \
             node and readwrite for an operator: etcdctl role grant-permission ROLE readwrite \
             --prefix {prefix}"
        )
    }

    fn transport(&self, failure: &Failure, status: &Status, text: &str) -> (Kind, String) {
        let mut is_connected = true;
        let mut deepest = None;
        for cause in Causes::of(status) {
            is_connected &= !cause.is::<ConnectError>();
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return self.tls(&failure.endpoint, tls);
            }
            let cause = brief(&cause.to_string());
            // Below HTTP/2 only the text of an alert is left.
            if let Some(alert) = cause.strip_prefix("received fatal alert: ") {
                return (Kind::Refused, self.alert(alert));
            }
            deepest = Some(cause);
        }
        let Some(cause) = deepest else {
            // etcd itself said it: nothing is wrong with the way there.
            let what = match text.contains("no leader") || text.contains("timed out") {
                true => ": too few of its members run or reach each other",
                false => "",
            };
            return (Kind::Unreachable, format!("cannot answer now: {text}{what}"));
        };
        match self.tls {
            true if cause == "tls handshake eof" => (Kind::Unreachable, NO_TLS.to_owned()),
            // With TLS 1.3 a server checks the certificate of a client after the handshake, and
            // what it says of it may be lost as it closes.
            true if is_connected && failure.is_new => (Kind::Refused, self.alert(&cause)),
            // A server that expects TLS closes a connection without a word.
            false if is_connected => {
                let what = "if it speaks TLS there, add ca=FILE to the location";
                (Kind::Unreachable, format!("is not reached: {cause}: {what}"))
            }
            _ => (Kind::Unreachable, format!("is not reached: {cause}")),
        }
    }

    fn tls(&self, endpoint: &str, error: &rustls::Error) -> (Kind, String) {
        use rustls::Error as E;

        let refused = |what: String| (Kind::Refused, what);
        match error {
            E::InvalidCertificate(why) => refused(self.certificate(endpoint, why)),
            E::AlertReceived(alert) => refused(self.alert(&format!("{alert:?}"))),
            E::InvalidMessage(_) => (Kind::Unreachable, NO_TLS.to_owned()),
            other => (Kind::Unreachable, format!("cannot be spoken to by TLS: {other}")),
        }
    }

    fn certificate(&self, endpoint: &str, why: &CertificateError) -> String {
        use CertificateError as C;

        let what = match why {
            C::Expired | C::ExpiredContext { .. } => {
                "that has expired: renew it, or set the clock of this host"
            }
            C::NotValidYet | C::NotValidYetContext { .. } => {
                "that is not valid yet: set the clock of this host"
            }
            C::UnknownIssuer | C::BadSignature => {
                "that no trusted CA has signed: name the file of its CA by ca=FILE"
            }
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
                return format!(
                    "has a certificate for other names than `{host}`: write a name that is in the \
                     certificate"
                );
            }
            other => return format!("has a certificate that is not accepted: {other}"),
        };
        format!("has a certificate {what}")
    }

    /// Says why a server ended a connection during the handshake or right after it.
    fn alert(&self, alert: &str) -> String {
        let what = match (self.has_certificate, alert) {
            (false, _) => "if it wants a client certificate, add cert=FILE and key=FILE",
            (true, "CertificateExpired") => "the certificate of cert= has expired: renew it",
            (true, _) => {
                "check that the certificate of cert= is signed by the CA of etcd, for clients, and \
                 has not expired"
            }
        };
        format!("does not accept the TLS connection ({alert}): {what}")
    }
}

/// The causes of an error, from the outermost. An IO error hides the error that it wraps.
struct Causes<'a> {
    next: Option<&'a (dyn Error + 'static)>,
}

impl<'a> Causes<'a> {
    fn of(status: &'a Status) -> Self {
        Self { next: status.source() }
    }
}

impl<'a> Iterator for Causes<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let now = self.next?;
        self.next = match now.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => now.source(),
        };
        Some(now)
    }
}

/// The first characters of a text of the server, on one line.
fn brief(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(user: Option<&str>, code: Code, text: &str) -> StoreError {
        let asker = Asker {
            user: user.map(str::to_owned),
            has_certificate: false,
            tls: false,
            prefix: "/tgossip/prod/".to_owned(),
        };
        let cause = Cause::Status(Status::new(code, text));
        asker.explain(&[Failure { endpoint: "h1:2379".to_owned(), is_new: false, cause }])
    }

    #[test]
    fn what_etcd_says_becomes_an_error_that_names_the_endpoint_and_what_to_do() {
        use StoreError as E;

        type IsKind = fn(&StoreError) -> bool;
        let refused: IsKind = |error| matches!(error, E::Refused(_));
        let unreachable: IsKind = |error| matches!(error, E::Unreachable(_));
        let unwritable: IsKind = |error| matches!(error, E::Unwritable(_));
        let damaged: IsKind = |error| matches!(error, E::Damaged(_));
        for (code, text, is_kind, words) in [
            (Code::InvalidArgument, "etcdserver: user name is empty", refused, "add user="),
            (Code::Unauthenticated, "etcdserver: invalid auth token", refused, "add user="),
            (Code::PermissionDenied, "etcdserver: permission denied", refused, "grant-permission"),
            (Code::Unavailable, "etcdserver: no leader", unreachable, "too few of its members"),
            (Code::Unavailable, "etcdserver: request timed out", unreachable, "too few"),
            (Code::DeadlineExceeded, "late", unreachable, "cannot answer now: late"),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                unwritable,
                "disarm the alarm",
            ),
            (Code::InvalidArgument, "etcdserver: request is too large", unwritable, "1.5 MiB"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 3 bytes",
                damaged,
                "longer than any",
            ),
        ] {
            let error = explain(None, code, text);
            assert!(is_kind(&error), "{text}: {error:?}");
            let said = error.to_string();
            assert!(said.contains("etcd at h1:2379 ") && said.contains(words), "{text}: {said}");
        }
    }

    #[test]
    fn a_long_or_hostile_text_of_the_server_is_cut() {
        let error = explain(Some("ana"), Code::Unavailable, &"a\n".repeat(1_000_000)).to_string();
        assert!(error.len() < 400 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_failure_that_both_endpoints_have_is_said_once_for_each() {
        let asker = Asker { user: None, has_certificate: false, tls: false, prefix: String::new() };
        let failure = |endpoint: &str| Failure {
            endpoint: endpoint.to_owned(),
            is_new: true,
            cause: Cause::TimedOut(Duration::from_secs(2)),
        };
        let error = asker.explain(&[failure("h1:1"), failure("h2:2")]).to_string();
        assert_eq!(
            error,
            "the registry cannot be reached: etcd at h1:1 did not answer within 2 s; etcd at h2:2 \
             did not answer within 2 s"
        );
        let error = asker.explain(&[failure("h1:1"), failure("h1:1")]).to_string();
        assert_eq!(error.matches("h1:1").count(), 1, "{error}");
    }
}
