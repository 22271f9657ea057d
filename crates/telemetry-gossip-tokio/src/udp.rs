//! Datagrams over UDP, IPv4 or IPv6.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::Poll;
use std::time::Duration;

use thiserror::Error;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::lookup::lookup;
use crate::peer_addr::PeerAddr;
use crate::sealing::{Sealing, SharedSeal};
use crate::transport::{BoxFuture, NameError, Subscribers, Subscription, Transport};

/// The size of the socket's buffers, if the system grants it: a burst of some thousand datagrams.
const BUFFER_BYTES: usize = 1 << 20;

/// The form of a name that was not added by [`UdpTransport::add_peer`].
const NAME_RULE: &str = "type host:port with a port from 1 to 65535, such as 10.0.0.17:7946, \
                         seed.example.com:7946 or [::1]:7946";

/// Why an IPv4 address is no name.
const IPV6_ONLY: &str = "this node is bound to an IPv6 address and reaches no IPv4 address: bind \
                         it to [::] for both, or name an IPv6 address";

/// Why an IPv6 address is no name.
const IPV4_ONLY: &str = "this node is bound to an IPv4 address and reaches no IPv6 address: bind \
                         it to [::] for both, or name an IPv4 address";

/// The pause after an error of the socket, so that a lasting error does not spin.
const AFTER_ERROR: Duration = Duration::from_millis(1);

/// The longest datagram that is received whole, in bytes.
const MAX_DATAGRAM: usize = 65_536;

/// Why a UDP socket cannot be bound.
#[derive(Debug, Error)]
#[error("{address} cannot be bound: {error}")]
#[non_exhaustive]
pub struct BindError {
    /// The address to bind to.
    pub address: SocketAddr,
    /// The error of the system, or the rule that the address breaks
    /// ([`io::ErrorKind::InvalidInput`]).
    #[source]
    pub error: io::Error,
}

impl From<BindError> for io::Error {
    /// An error of the same kind that names the address.
    fn from(error: BindError) -> Self {
        Self::new(error.error.kind(), error)
    }
}

/// A UDP socket as a [`Transport`].
///
/// It sends to unicast addresses of its own family only, or of both if it is bound to `[::]`. Peers
/// can report other addresses, such as the name of a node in memory, a multicast group or port 0. A
/// datagram to one of those is not sent, and is counted by [`UdpTransport::send_refused`].
///
/// ```
/// use telemetry_gossip_tokio::{Sealing, Transport, UdpTransport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let a = UdpTransport::bind("127.0.0.1:0".parse()?, Sealing::Plaintext).await?;
/// let b = UdpTransport::bind("127.0.0.1:0".parse()?, Sealing::Plaintext).await?;
/// let mut arriving = b.subscribe();
/// a.send(b.local(), b"hello")?;
/// let delivery = arriving.recv().await.expect("b is open");
/// assert_eq!((delivery.from, &*delivery.bytes), (a.local(), &b"hello"[..]));
/// # Ok(())
/// # }
/// ```
///
/// One task receives, on the runtime on which the transport was bound. When the transport is closed
/// or dropped, the task ends and the port is free again. The end of that runtime closes the
/// transport, too: make one that outlives it on a runtime that does.
#[derive(Debug)]
pub struct UdpTransport {
    local: SocketAddr,
    /// Whether the socket is for IPv4 and IPv6.
    both_families: bool,
    /// The number of the link to which the socket is bound, for link-local addresses; 0 for none.
    link: u32,
    seal: Option<Arc<SharedSeal>>,
    socket: Arc<Socket>,
    receiver: AbortHandle,
    subscribers: Arc<Subscribers>,
    peers: Mutex<HashMap<String, SocketAddr>>,
    send_dropped: AtomicU64,
    send_refused: AtomicU64,
    received_dropped: Arc<AtomicU64>,
}

/// The socket, until it is closed. It is borrowed for single calls only, so that closing it frees
/// the port at once.
type Socket = RwLock<Option<UdpSocket>>;

impl UdpTransport {
    /// Binds to `address`; port 0 takes a free port. Others reach the transport at this address, so
    /// an unspecified IP (`0.0.0.0`, `::`) is refused: use [`UdpTransport::bind_advertised`]. A
    /// datagram that `sealing` refuses reaches no subscriber.
    ///
    /// Call it within a tokio runtime that has IO enabled. The future is ready at once.
    pub async fn bind(address: SocketAddr, sealing: Sealing) -> Result<Arc<Self>, BindError> {
        if address.ip().is_unspecified() {
            let rule = "other nodes cannot reach an unspecified address: advertise another one";
            return Err(BindError {
                address,
                error: io::Error::new(io::ErrorKind::InvalidInput, rule),
            });
        }
        Self::open(address, None, sealing).map_err(|error| BindError { address, error })
    }

    /// Binds to `address`, while others reach the transport at `advertised`: for a node behind NAT,
    /// or bound to `0.0.0.0` or `[::]`. Bound to `[::]`, it reaches and advertises addresses of
    /// both families, if the system has both; otherwise both addresses must be of one family. Port
    /// 0 in `advertised` stands for the bound port.
    pub async fn bind_advertised(
        address: SocketAddr,
        advertised: SocketAddr,
        sealing: Sealing,
    ) -> Result<Arc<Self>, BindError> {
        Self::open(address, Some(advertised), sealing).map_err(|error| BindError { address, error })
    }

    fn open(
        address: SocketAddr,
        advertised: Option<SocketAddr>,
        sealing: Sealing,
    ) -> io::Result<Arc<Self>> {
        let link = [Some(address), advertised].into_iter().flatten().find_map(link_of).unwrap_or(0);
        if is_link_local(advertised.unwrap_or(address)) && link == 0 {
            let rule = "a link-local address needs its link: write [fe80::1%eth0]:7946";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, rule));
        }
        tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let seal = sealing.into_seal()?;
        let domain = socket2::Domain::for_address(address);
        let socket =
            socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        // All addresses of a host are those of both families, if the system has both.
        let both = address.is_ipv6() && address.ip().is_unspecified();
        let both = both && socket.set_only_v6(false).is_ok();
        if address.is_ipv6() && !both {
            socket.set_only_v6(true)?;
        }
        if advertised.is_some_and(|it| it.is_ipv4() != address.is_ipv4()) && !both {
            let rule = if address.ip().is_unspecified() && address.is_ipv6() {
                "this system has no socket for both families: bind to 0.0.0.0 for an IPv4 address"
            } else {
                "the bound and the advertised address must be of one family: bind to [::] for both"
            };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, rule));
        }
        // The system may grant less, which is no error.
        let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(BUFFER_BYTES);
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let bound = socket.local_addr()?;
        let socket = Arc::new(RwLock::new(Some(socket)));
        let local = advertised.map_or(bound, |mut advertised| {
            if advertised.port() == 0 {
                advertised.set_port(bound.port());
            }
            advertised
        });
        let local = canonical(local);
        let subscribers = Arc::new(Subscribers::default());
        let received_dropped = Arc::new(AtomicU64::new(0));
        let receiving = receive(
            Closing { socket: socket.clone(), subscribers: subscribers.clone() },
            seal.clone(),
            received_dropped.clone(),
        );
        let receiver = tokio::spawn(receiving).abort_handle();
        Ok(Arc::new(Self {
            local,
            both_families: both,
            link,
            seal,
            socket,
            receiver,
            subscribers,
            peers: Mutex::default(),
            send_dropped: AtomicU64::new(0),
            send_refused: AtomicU64::new(0),
            received_dropped,
        }))
    }

    /// The address at which others reach this transport.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Makes `id` resolve to `address` from now on, without asking a name server.
    pub fn add_peer(&self, id: &str, address: SocketAddr) {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), address);
    }

    fn peer(&self, name: &str) -> Option<SocketAddr> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// The number of datagrams that were not sent because the buffer of the socket was full.
    #[must_use]
    pub fn send_dropped(&self) -> u64 {
        self.send_dropped.load(Ordering::Relaxed)
    }

    /// The number of datagrams that were not sent because of their target address.
    #[must_use]
    pub fn send_refused(&self) -> u64 {
        self.send_refused.load(Ordering::Relaxed)
    }

    /// Whether `to` is a unicast address of a family that this transport has.
    fn reaches(&self, to: SocketAddr) -> bool {
        let ip = to.ip();
        let one =
            !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
        one && to.port() > 0 && self.has_family_of(to)
    }

    fn has_family_of(&self, address: SocketAddr) -> bool {
        self.both_families || address.is_ipv4() == self.local.is_ipv4()
    }

    /// The address as the socket takes it: in a socket for both families, one of IPv4 is mapped;
    /// and one of a link is on the link of this transport, as no other host knows its number here.
    fn on_socket(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.both_families => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
                SocketAddrV6::new(*v6.ip(), v6.port(), 0, self.link).into()
            }
            _ => to,
        }
    }

    /// The number of datagrams that a subscriber had no room for, counted per subscriber.
    #[must_use]
    pub fn received_dropped(&self) -> u64 {
        self.received_dropped.load(Ordering::Relaxed)
    }
}

/// Closes the transport when it is dropped: the task that receives has ended, perhaps with its
/// runtime. Without it, the transport would send on, and be deaf.
struct Closing {
    socket: Arc<Socket>,
    subscribers: Arc<Subscribers>,
}

impl Closing {
    fn close(&self) {
        self.subscribers.close();
        self.socket.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.close();
    }
}

async fn receive(closing: Closing, seal: Option<Arc<SharedSeal>>, dropped: Arc<AtomicU64>) {
    let Closing { socket, subscribers } = &closing;
    let mut buf = vec![0; MAX_DATAGRAM].into_boxed_slice();
    loop {
        let received = std::future::poll_fn(|context| {
            let mut buf = ReadBuf::new(&mut buf);
            match &*socket.read().unwrap_or_else(PoisonError::into_inner) {
                Some(socket) => socket
                    .poll_recv_from(context, &mut buf)
                    .map_ok(|from| Some((buf.filled().len(), from))),
                None => Poll::Ready(Ok(None)),
            }
        });
        match received.await {
            Ok(Some((len, from))) => {
                // Before the datagram waits in any queue: a forged datagram must not take the
                // place of an authentic one.
                let peer = PeerAddr::Socket(canonical(from));
                let missed = match &seal {
                    None => subscribers.deliver(peer, &buf[..len]),
                    Some(seal) => match seal.open_from(peer, &mut buf[..len]) {
                        Ok((contents, sealed)) => {
                            subscribers.deliver_sealed(peer, contents, sealed)
                        }
                        Err(refusal) => {
                            tracing::trace!(%from, %refusal, "datagram not opened");
                            continue;
                        }
                    },
                };
                dropped.fetch_add(missed as u64, Ordering::Relaxed);
            }
            Ok(None) => return,
            // For example an ICMP error of an earlier send: the socket can still be used.
            Err(error) => {
                tracing::debug!(%error, "receive");
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// Whether the text has a host and a port. An IPv6 address needs brackets: without them its last
/// group would be taken for the port.
fn is_host_port(text: &str) -> bool {
    if text.starts_with('[') {
        let is_address = |text: &str| text.parse::<SocketAddrV6>().is_ok_and(|it| it.port() > 0);
        let Some((host, rest)) = text.split_once('%') else { return is_address(text) };
        // A link may have a number or a name.
        return rest.split_once(']').is_some_and(|(link, port)| {
            !link.is_empty()
                && !link.contains(|it: char| it == '/' || it == '%' || it.is_whitespace())
                && is_address(&format!("{host}]{port}"))
        });
    }
    let forbidden = |byte: char| {
        matches!(byte, ':' | '/' | '[' | ']') || byte.is_whitespace() || byte.is_control()
    };
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let port_is_one = port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0);
        !host.is_empty() && !host.contains(forbidden) && port_is_one
    })
}

/// The host and the port as the lookup takes them: an address that names its link, such as
/// `[fe80::1%eth0]:7946`, without its brackets.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host), port.parse().ok()?))
}

/// Drops flow and scope, which mean something to this host only: a peer is its IP and port. An IPv4
/// address in the form of IPv6 is the IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn is_link_local(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local())
}

/// The number of the link in an address that names one.
fn link_of(address: SocketAddr) -> Option<u32> {
    match address {
        SocketAddr::V6(v6) => Some(v6.scope_id()).filter(|&link| link != 0),
        SocketAddr::V4(_) => None,
    }
}

impl Transport for UdpTransport {
    fn local(&self) -> PeerAddr {
        PeerAddr::Socket(self.local)
    }

    fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
        let address = match to {
            PeerAddr::Socket(address) if self.reaches(address) => self.on_socket(address),
            PeerAddr::Socket(_) | PeerAddr::Name(_) => {
                self.send_refused.fetch_add(1, Ordering::Relaxed);
                let rule = "not a unicast address of this transport's family";
                return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, rule));
            }
        };
        let held = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        let closed = || io::Error::new(io::ErrorKind::NotConnected, "the transport is closed");
        // Not through tokio's readiness, which a socket that was just bound does not have yet: its
        // first datagrams must not get lost.
        let socket = socket2::SockRef::from(held.as_ref().ok_or_else(closed)?);
        let send = |bytes: &[u8]| socket.send_to(bytes, &address.into());
        let sent = match &self.seal {
            None => send(bytes),
            Some(seal) => seal.send(bytes, send),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.send_dropped.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
            result => result.map(|_| ()),
        }
    }

    fn seal(&self) -> Option<&Arc<SharedSeal>> {
        self.seal.as_ref()
    }

    fn subscribe(&self) -> Subscription {
        self.subscribers.subscribe()
    }

    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
        Box::pin(async move {
            if let Some(address) = self.peer(name) {
                return Ok(vec![address.into()]);
            }
            self.check_name(name)
                .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
            let found = match name.parse() {
                Ok(address) => vec![address],
                Err(_) => {
                    let (host, port) = host_and_port(name).ok_or_else(|| {
                        io::Error::new(io::ErrorKind::NotFound, NameError::new(name, NAME_RULE))
                    })?;
                    lookup(host, port).await?
                }
            };
            let found: Vec<PeerAddr> = found
                .into_iter()
                .filter(|&address| self.has_family_of(canonical(address)))
                .map(|at| canonical(at).into())
                .collect();
            if found.is_empty() {
                let reason = format!("{name} has no address of this transport's family");
                return Err(io::Error::new(io::ErrorKind::NotFound, reason));
            }
            Ok(found)
        })
    }

    fn check_name(&self, name: &str) -> Result<(), NameError> {
        if self.peer(name).is_some() {
            return Ok(());
        }
        if !is_host_port(name) {
            return Err(NameError::new(name, NAME_RULE));
        }
        let other = |&address: &SocketAddr| !self.has_family_of(canonical(address));
        match name.parse::<SocketAddr>().ok().filter(other) {
            Some(address) if address.is_ipv4() => Err(NameError::new(name, IPV6_ONLY)),
            Some(_) => Err(NameError::new(name, IPV4_ONLY)),
            None => Ok(()),
        }
    }

    fn close(&self) {
        self.receiver.abort();
        self.subscribers.close();
        self.socket.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for UdpTransport {
    fn drop(&mut self) {
        self.close();
    }
}
