//! A transport of your own: nodes of one machine that talk over Unix datagram sockets, each named
//! after its node, in one folder.

#[cfg(unix)]
mod unix {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use telemetry_gossip::NodeId;
    use telemetry_gossip::transport::{
        BoxFuture, PeerAddr, SharedSeal, Subscribers, Subscription, Transport,
    };
    use tokio::net::UnixDatagram;

    #[derive(Debug)]
    pub(crate) struct UnixTransport {
        folder: PathBuf,
        id: NodeId,
        socket: UnixDatagram,
        subscribers: Subscribers,
    }

    impl UnixTransport {
        pub(crate) fn bind(folder: &Path, id: &str) -> io::Result<Arc<Self>> {
            let id = NodeId::new(id).map_err(io::Error::other)?;
            let socket = UnixDatagram::bind(folder.join(id.as_str()))?;
            let (folder, subscribers) = (folder.to_owned(), Subscribers::default());
            let transport = Arc::new(Self { folder, id, socket, subscribers });
            // The task must not keep the transport alive: it holds it only while it receives.
            let weak = Arc::downgrade(&transport);
            tokio::spawn(async move {
                while let Some(transport) = weak.upgrade() {
                    transport.receive().await;
                }
            });
            Ok(transport)
        }

        async fn receive(&self) {
            let mut buf = vec![0; 65_536];
            let Ok((len, from)) = self.socket.recv_from(&mut buf).await else { return };
            let name = from.as_pathname().and_then(Path::file_name).and_then(|name| name.to_str());
            if let Some(Ok(from)) = name.map(PeerAddr::try_from) {
                self.subscribers.deliver(from, &buf[..len]);
            }
        }
    }

    impl Transport for UnixTransport {
        fn local(&self) -> PeerAddr {
            PeerAddr::Name(self.id)
        }

        fn send(&self, to: PeerAddr, bytes: &[u8]) -> io::Result<()> {
            let PeerAddr::Name(to) = to else {
                return Err(io::Error::other("a Unix socket is addressed by the id of its node"));
            };
            self.socket.try_send_to(bytes, self.folder.join(to.as_str())).map(drop)
        }

        /// The permissions of the folder protect the datagrams.
        fn seal(&self) -> Option<&Arc<SharedSeal>> {
            None
        }

        fn subscribe(&self) -> Subscription {
            self.subscribers.subscribe()
        }

        fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<PeerAddr>>> {
            let found = PeerAddr::try_from(name).map_err(io::Error::other);
            Box::pin(std::future::ready(found.map(|address| vec![address])))
        }

        fn close(&self) {
            self.subscribers.close();
        }
    }
}

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    use telemetry_gossip::GossipNode;
    use unix::UnixTransport;

    let folder = std::env::temp_dir().join(format!("own-transport-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let a = GossipNode::builder("a")?.start(UnixTransport::bind(&folder, "a")?).await?;
    let b = GossipNode::builder("b")?.seeds(["a"]);
    let b = b.start(UnixTransport::bind(&folder, "b")?).await?;
    b.publish("load", b"0.7").await?;
    let mut events = a.events();
    while a.telemetry("b", "load").is_none() {
        println!("{:?}", events.recv().await?);
    }
    println!("{:?}", a.members());
    Ok(std::fs::remove_dir_all(&folder)?)
}

#[cfg(not(unix))]
fn main() {
    eprintln!("this example needs Unix sockets");
}
