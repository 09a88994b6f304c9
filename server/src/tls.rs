//! Encrypted connections between nodes (RabbitMQ docs: Securing Cluster (Inter-node) Communication with TLS).
//!
//! Both ends show a certificate, and each believes the other's if the same authority has signed it; who dials wants to see the host there
//! that it dialed, too. Only TLS 1.3 is spoken. What nodes say through it is what they say without: the secret of the cluster stays.
//!
//! [`PeerNet`] is a network of such connections above one of any kind, or that one itself where there are no certificates.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::net::{Accepted, Net};

/// How long the other side may take to say who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections whose other side has not said yet who it is. Nodes are few; whoever else comes must not cost more than this.
const HANDSHAKES_MAX: usize = 64;

/// Where a node's certificates are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority's certificates (PEM).
    pub authority: PathBuf,
    /// The node's own, first itself, then those between it and the authority (PEM).
    pub certificate: PathBuf,
    /// The private key to that (PEM, not encrypted).
    pub key: PathBuf,
}

/// What a node shows to others, and what it wants to see of them.
#[derive(Clone)]
pub struct PeerTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl PeerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them cannot be used, and why.
    pub fn read(files: &TlsFiles) -> Result<Self, String> {
        let TlsFiles { authority, certificate, key } = files;
        let wrong = |path: &PathBuf, why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let certificates = |path: &PathBuf| -> Result<Vec<CertificateDer<'static>>, String> {
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, &error))?.collect();
            match found {
                Ok(found) if !found.is_empty() => Ok(found),
                Ok(_) => Err(wrong(path, &"there is no certificate in it")),
                Err(error) => Err(wrong(path, &error)),
            }
        };
        let mut roots = RootCertStore::empty();
        for root in certificates(authority)? {
            roots.add(root).map_err(|error| wrong(authority, &error))?;
        }
        let (roots, chain) = (Arc::new(roots), certificates(certificate)?);
        let own_key = || PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions);
        let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(Arc::clone(&roots));
        let client = builder.with_client_auth_cert(chain.clone(), own_key()?);
        let client = client.map_err(|error| wrong(certificate, &error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| wrong(authority, &error))?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.map_err(|error| error.to_string())?.with_client_cert_verifier(verifier);
        let server = builder.with_single_cert(chain, own_key()?).map_err(|error| wrong(certificate, &error))?;
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerTls")
    }
}

/// A network for the links of nodes.
#[derive(Clone, Debug)]
pub(crate) struct PeerNet<N> {
    net: N,
    /// `None`: nothing is encrypted.
    tls: Option<PeerTls>,
    complaint: Complaint,
}

impl<N> PeerNet<N> {
    pub(crate) fn new(net: N, tls: Option<PeerTls>) -> Self {
        Self { net, tls, complaint: Complaint::default() }
    }
}

/// What was last said of certificates: nodes try again and again, and the log is to tell of it once.
#[derive(Clone, Debug, Default)]
struct Complaint(Arc<Mutex<Option<(IpAddr, String)>>>);

impl Complaint {
    fn say(&self, what: &'static str, address: SocketAddr, error: &io::Error) {
        let said = Some((address.ip(), format!("{what}: {error}")));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == said {
            tracing::debug!(%address, %error, "{what}");
        } else {
            tracing::warn!(%address, %error, "{what}");
            *last = said;
        }
    }
}

/// Both halves of a connection together again.
type Whole<N> = Join<<N as Net>::Read, <N as Net>::Write>;
/// A connection that was accepted, or from where it came and why it was not.
type Greeted<N> = Result<Accepted<PeerStream<N>>, (SocketAddr, io::Error)>;

/// A listener of a [`PeerNet`].
pub(crate) struct PeerListener<N: Net> {
    listener: N::Listener,
    /// Connections whose other side is about to say who it is.
    handshakes: JoinSet<Greeted<N>>,
}

/// A connection of a [`PeerNet`].
pub(crate) enum PeerStream<N: Net> {
    Plain(N::Stream),
    Tls(Box<TlsStream<Whole<N>>>),
}

/// The half of a [`PeerStream`] that is read from.
pub(crate) enum PeerRead<N: Net> {
    Plain(N::Read),
    Tls(ReadHalf<TlsStream<Whole<N>>>),
}

/// The half of a [`PeerStream`] that is written to.
pub(crate) enum PeerWrite<N: Net> {
    Plain(N::Write),
    Tls(WriteHalf<TlsStream<Whole<N>>>),
}

impl<N: Net> Net for PeerNet<N> {
    type Listener = PeerListener<N>;
    type Stream = PeerStream<N>;
    type Read = PeerRead<N>;
    type Write = PeerWrite<N>;

    async fn bind(&self, address: SocketAddr) -> io::Result<PeerListener<N>> {
        Ok(PeerListener { listener: self.net.bind(address).await?, handshakes: JoinSet::new() })
    }

    fn local_addr(&self, listener: &PeerListener<N>) -> io::Result<SocketAddr> {
        self.net.local_addr(&listener.listener)
    }

    async fn accept(&self, listener: &mut PeerListener<N>) -> io::Result<Accepted<PeerStream<N>>> {
        let PeerListener { listener, handshakes } = listener;
        let Some(tls) = &self.tls else {
            let Accepted { stream, peer, local } = self.net.accept(listener).await?;
            return Ok(Accepted { stream: PeerStream::Plain(stream), peer, local });
        };
        loop {
            tokio::select! {
                biased;
                Some(ended) = handshakes.join_next() => match ended {
                    Ok(Ok(accepted)) => return Ok(accepted),
                    Ok(Err((peer, error))) => self.complaint.say("a connection for nodes is refused", peer, &error),
                    Err(error) => if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    },
                },
                accepted = self.net.accept(listener), if handshakes.len() < HANDSHAKES_MAX => {
                    handshakes.spawn(greet::<N>(tls.acceptor.clone(), accepted?));
                }
            }
        }
    }

    async fn connect(&self, address: &str) -> io::Result<PeerStream<N>> {
        let stream = self.net.connect(address).await?;
        let Some(tls) = &self.tls else { return Ok(PeerStream::Plain(stream)) };
        let _ = N::watch(&stream);
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = in_time(tls.connector.connect(name, whole::<N>(stream))).await?;
        Ok(PeerStream::Tls(Box::new(stream.into())))
    }

    fn watch(stream: &PeerStream<N>) -> io::Result<()> {
        match stream {
            PeerStream::Plain(stream) => N::watch(stream),
            // It is, since before its other side said who it is.
            PeerStream::Tls(_) => Ok(()),
        }
    }

    fn split(stream: PeerStream<N>) -> (PeerRead<N>, PeerWrite<N>) {
        match stream {
            PeerStream::Plain(stream) => {
                let (read, write) = N::split(stream);
                (PeerRead::Plain(read), PeerWrite::Plain(write))
            }
            PeerStream::Tls(stream) => {
                let (read, write) = tokio::io::split(*stream);
                (PeerRead::Tls(read), PeerWrite::Tls(write))
            }
        }
    }
}

fn whole<N: Net>(stream: N::Stream) -> Whole<N> {
    let (read, write) = N::split(stream);
    tokio::io::join(read, write)
}

/// Lets the other side of a connection say who it is.
async fn greet<N: Net>(acceptor: TlsAcceptor, accepted: Accepted<N::Stream>) -> Greeted<N> {
    let Accepted { stream, peer, local } = accepted;
    let _ = N::watch(&stream);
    let stream = in_time(acceptor.accept(whole::<N>(stream))).await.map_err(|error| (peer, error))?;
    Ok(Accepted { stream: PeerStream::Tls(Box::new(stream.into())), peer, local })
}

async fn in_time<T>(handshake: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let overdue = || io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long");
    timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(|_| Err(overdue())).map_err(|error| {
        let is_no_tls = |error: &rustls::Error| matches!(error, rustls::Error::InvalidMessage(_));
        if error.get_ref().and_then(|error| error.downcast_ref()).is_some_and(is_no_tls) {
            let text = "the other side speaks no TLS and this node does: set it on both or on none";
            return io::Error::new(io::ErrorKind::InvalidData, text);
        }
        error
    })
}

impl<N: Net> AsyncRead for PeerRead<N> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(read) => Pin::new(read).poll_read(cx, buffer),
            Self::Tls(read) => {
                let polled = Pin::new(read).poll_read(cx, buffer);
                // Whoever dialed hears only here that the other side did not like its certificate.
                if let Poll::Ready(Err(error)) = &polled
                    && error.get_ref().is_some_and(|error| error.is::<rustls::Error>())
                {
                    tracing::warn!(%error, "another node has ended an encrypted connection");
                }
                polled
            }
        }
    }
}

impl<N: Net> AsyncWrite for PeerWrite<N> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_write(cx, bytes),
            Self::Tls(write) => Pin::new(write).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_write_vectored(cx, slices),
            Self::Tls(write) => Pin::new(write).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(write) => write.is_write_vectored(),
            Self::Tls(write) => write.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_flush(cx),
            Self::Tls(write) => Pin::new(write).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(write) => Pin::new(write).poll_shutdown(cx),
            Self::Tls(write) => Pin::new(write).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test may wait for its files")]
mod tests {
    use super::*;
    use crate::net::TcpNet;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use std::fs;
    use std::path::Path;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    type Authority = CertifiedIssuer<'static, KeyPair>;

    fn authority(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// The files of a node on `host` that believes `authority`, with a certificate of `issuer`.
    fn files(folder: &Path, authority: &Authority, issuer: &Authority, host: &str) -> TlsFiles {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, issuer).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        TlsFiles {
            authority: write("ca.pem", authority.pem()),
            certificate: write("cert.pem", certificate.pem()),
            key: write("key.pem", key.serialize_pem()),
        }
    }

    fn net(authority: &Authority, issuer: &Authority, host: &str) -> PeerNet<TcpNet> {
        let folder = tempfile::tempdir().unwrap();
        PeerNet::new(TcpNet, Some(PeerTls::read(&files(folder.path(), authority, issuer, host)).unwrap()))
    }

    async fn listen(net: &PeerNet<TcpNet>) -> (PeerListener<TcpNet>, String) {
        let listener = net.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = net.local_addr(&listener).unwrap().to_string();
        (listener, address)
    }

    #[tokio::test]
    async fn who_has_a_certificate_of_the_same_authority_is_let_in_and_nobody_else() {
        let (ours, others) = (authority("ours"), authority("others"));
        let here = net(&ours, &ours, "127.0.0.1");
        let (mut listener, address) = listen(&here).await;
        let accepting = tokio::spawn(async move { here.accept(&mut listener).await.map(|accepted| accepted.stream) });
        // One that speaks no TLS, one that is silent, one that does not believe us, and one that we do not believe.
        let mut plain = TcpStream::connect(&address).await.unwrap();
        plain.write_all(b"LEVERET and more that is no greeting of TLS").await.unwrap();
        let _silent = TcpStream::connect(&address).await.unwrap();
        let refused = net(&others, &others, "127.0.0.1").connect(&address).await.err().unwrap();
        assert!(refused.to_string().contains("UnknownIssuer"), "{refused}");
        let stranger = net(&ours, &others, "127.0.0.1").connect(&address).await.unwrap();
        let (mut read, _write) = PeerNet::<TcpNet>::split(stranger);
        let ended = read.read(&mut [0]).await.unwrap_err();
        assert!(ended.to_string().contains("alert"), "{ended}");
        // And one that is as it should be.
        let stream = net(&ours, &ours, "127.0.0.1").connect(&address).await.unwrap();
        let (mut read, mut write) = PeerNet::<TcpNet>::split(stream);
        let (mut other_read, mut other_write) = PeerNet::<TcpNet>::split(accepting.await.unwrap().unwrap());
        for (write, read) in [(&mut write, &mut other_read), (&mut other_write, &mut read)] {
            let sent = vec![7; 100_000];
            let (wrote, heard) = tokio::join!(
                async {
                    write.write_all(&sent).await?;
                    write.flush().await
                },
                async {
                    let mut heard = vec![0; 100_000];
                    read.read_exact(&mut heard).await.map(|_| heard)
                }
            );
            wrote.unwrap();
            assert_eq!(heard.unwrap(), sent);
        }
    }

    #[tokio::test]
    async fn who_speaks_no_tls_is_told_apart() {
        let ours = authority("ours");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"LEVERET and more that is no greeting of TLS").await.unwrap();
            stream
        });
        let refused = net(&ours, &ours, "127.0.0.1").connect(&address).await.err().unwrap();
        assert!(refused.to_string().contains("speaks no TLS"), "{refused}");
        drop(answering.await);
    }

    #[tokio::test]
    async fn a_certificate_is_for_the_host_that_was_dialed() {
        let ours = authority("ours");
        let here = net(&ours, &ours, "elsewhere");
        let (mut listener, address) = listen(&here).await;
        let accepting = tokio::spawn(async move { here.accept(&mut listener).await.map(drop) });
        let refused = net(&ours, &ours, "127.0.0.1").connect(&address).await.err().unwrap();
        assert!(refused.to_string().contains("not valid for name"), "{refused}");
        accepting.abort();
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let (ours, folder) = (authority("ours"), tempfile::tempdir().unwrap());
        let good = files(folder.path(), &ours, &ours, "a");
        let why = |files: TlsFiles| PeerTls::read(&files).unwrap_err();
        let missing = why(TlsFiles { authority: folder.path().join("none.pem"), ..good.clone() });
        assert!(missing.contains("none.pem: "), "{missing}");
        let empty = why(TlsFiles { certificate: good.key.clone(), ..good.clone() });
        assert!(empty.ends_with("key.pem: there is no certificate in it"), "{empty}");
        let no_key = why(TlsFiles { key: good.certificate.clone(), ..good.clone() });
        assert!(no_key.contains("cert.pem: "), "{no_key}");
        fs::write(&good.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let another = why(good);
        assert!(another.contains("cert.pem: "), "{another}");
    }
}
