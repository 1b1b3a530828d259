//! TLS in both directions, by rustls: what certificates, keys and roots are in the configured files, now and after they
//! change.
//!
//! [`load`] reads all of them once, so that a broken file is refused at the start like any wrong setting. After that a
//! [`Reload`] looks every two seconds whether a file is another one, reads it again, and publishes what comes of it; a
//! worker takes the newest for each new connection, and open connections live on with what they began with. Looking
//! is simpler than to be told: inotify sees neither a bind mount's nor a network file system's changes.

mod expiry;
mod pem;
mod reload;
mod stream;
mod words;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::client::{WantsClientCert, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, ServerConfig};

pub use self::expiry::Expiry;
use self::pem::Identity;
pub use self::reload::Reload;
use self::reload::Source;
pub use self::stream::Stream;
pub use self::words::explain;
use crate::config::{self, Config, Invalid};
use crate::evidence::Scheme;

/// ALPN's names of what we speak (RFC 7301 §6), the preferred one first.
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Which protocols a connection to the upstream may speak. Only HTTP/1.1 can switch to a WebSocket with every server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2 if the upstream likes, else HTTP/1.1.
    Any,
    Http1,
}

/// What the configured files say, now and later.
#[derive(Debug)]
pub struct Tls {
    /// What TLS is served with; `None` is plain HTTP.
    pub served: Option<Served>,
    /// What TLS is spoken to the upstream with; `None` for an upstream that speaks none.
    pub upstream: Option<Towards>,
    /// The same for the receiver of messages.
    pub receiver: Option<Towards>,
    /// When what is shown ends.
    pub expiry: Expiry,
}

/// The newest configuration to serve with.
pub type Served = watch::Receiver<Arc<ServerConfig>>;

/// The newest configuration to speak to the upstream, or to another server, with.
#[derive(Clone, Debug)]
pub struct Towards {
    /// Whom the certificate must name, and SNI asks for.
    pub name: ServerName<'static>,
    clients: watch::Receiver<Clients>,
}

/// One for each choice of [`Protocols`]; they share sessions.
#[derive(Clone, Debug)]
struct Clients {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
}

impl Clients {
    fn of(mut client: ClientConfig) -> Self {
        client.alpn_protocols = vec![HTTP1.to_vec()];
        let mut any = client.clone();
        any.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
        Self { any: Arc::new(any), http1: Arc::new(client) }
    }
}

impl Towards {
    /// For one new connection.
    pub fn newest(&self, protocols: Protocols) -> Arc<ClientConfig> {
        let clients = self.clients.borrow();
        Arc::clone(match protocols {
            Protocols::Any => &clients.any,
            Protocols::Http1 => &clients.http1,
        })
    }
}

/// Reads every file that the configuration names.
///
/// # Errors
/// Every file that is missing, broken, or does not fit the others.
pub fn load(config: &Config) -> Result<(Tls, Reload), Vec<Invalid>> {
    let (mut reload, mut invalid, expiry) = (Reload::default(), Vec::new(), Expiry::default());
    let mut note = |wrong: Vec<Invalid>| invalid.extend(wrong);
    let (served_until, shown_until) = (expiry.clone(), expiry.clone());
    let served = config.tls.clone().and_then(|files| {
        let paths = [Some(&files.identity.certificate), Some(&files.identity.key), files.client_ca.as_ref()];
        let source = Source::new(paths.into_iter().flatten().cloned().collect(), move || serve(&files, &served_until));
        source.map(|source| reload.add(source)).map_err(&mut note).ok()
    });
    let upstream = (config.upstream.scheme == Scheme::Https).then(|| {
        let files = config.upstream_tls.clone();
        let name = server_name("ANTEROOM_UPSTREAM", &config.upstream.host).map_err(&mut note);
        let identity = files.identity.iter().flat_map(|identity| [&identity.certificate, &identity.key]);
        let paths = files.ca.iter().chain(identity).cloned().collect();
        let source = Source::new(paths, move || towards(&files, &shown_until));
        let clients = source.map(|source| reload.add(source)).map_err(&mut note);
        Some(Towards { name: name.ok()?, clients: clients.ok()? })
    });
    let told = config.notify.as_ref().filter(|notify| notify.receiver.scheme == Scheme::Https);
    let receiver = told.map(|notify| {
        let name = server_name("ANTEROOM_NOTIFY_URL", &notify.receiver.host).map_err(&mut note);
        let ca = notify.ca.clone();
        let source = Source::new(ca.iter().cloned().collect(), move || {
            Ok(Clients::of(trusting("ANTEROOM_NOTIFY_CA", ca.as_ref())?.with_no_client_auth()))
        });
        let clients = source.map(|source| reload.add(source)).map_err(&mut note);
        Some(Towards { name: name.ok()?, clients: clients.ok()? })
    });
    let tls = Tls { served, upstream: upstream.flatten(), receiver: receiver.flatten(), expiry };
    if invalid.is_empty() { Ok((tls, reload)) } else { Err(invalid) }
}

/// Whom a certificate must name.
fn server_name(setting: &'static str, host: &str) -> Result<ServerName<'static>, Vec<Invalid>> {
    ServerName::try_from(host.to_owned()).map_err(|_| wrong(setting, None, "has a host that no certificate can name"))
}

/// For connections to a host that is trusted as browsers trust it, by the roots of this system.
///
/// # Errors
/// The host can be in no certificate, or there are no roots, in words.
pub fn towards_host(host: &str) -> Result<Towards, String> {
    let reasons = |wrong: Vec<Invalid>| wrong.into_iter().map(|it| it.reason).collect::<Vec<_>>().join(", ");
    let (name, trust) = both(server_name("the URL", host), trusting("SSL_CERT_FILE", None)).map_err(reasons)?;
    Ok(Towards { name, clients: watch::channel(Clients::of(trust.with_no_client_auth())).1 })
}

/// Whether this system has roots by which a server could be trusted.
pub fn has_roots() -> bool {
    pem::system_roots("SSL_CERT_FILE").is_ok()
}

fn serve(files: &config::Tls, expiry: &Expiry) -> Result<Arc<ServerConfig>, Vec<Invalid>> {
    const SETTINGS: [&str; 2] = ["ANTEROOM_TLS_CERT", "ANTEROOM_TLS_KEY"];
    let identity = pem::identity(&files.identity, SETTINGS);
    let verifier = files.client_ca.as_ref().map(|file| {
        const SETTING: &str = "ANTEROOM_TLS_CLIENT_CA";
        let roots = Arc::new(pem::roots(SETTING, file)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        verifier.map_err(|error| wrong(SETTING, Some(file), error))
    });
    let (Identity { certificates, key }, verifier) = both(identity, verifier.transpose())?;
    let until = certificates.first().and_then(expiry::not_after);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring can do the versions that rustls calls safe");
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config =
        builder.with_single_cert(certificates, key).map_err(|error| pem::unfit(&error, SETTINGS, &files.identity))?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    expiry.served_until(until);
    Ok(Arc::new(config))
}

fn towards(files: &config::UpstreamTls, expiry: &Expiry) -> Result<Clients, Vec<Invalid>> {
    const SETTINGS: [&str; 2] = ["ANTEROOM_UPSTREAM_CERT", "ANTEROOM_UPSTREAM_KEY"];
    let identity = files.identity.as_ref().map(|files| Ok((pem::identity(files, SETTINGS)?, files)));
    let (builder, identity) = both(trusting("ANTEROOM_UPSTREAM_CA", files.ca.as_ref()), identity.transpose())?;
    let client = match identity {
        None => builder.with_no_client_auth(),
        Some((Identity { certificates, key }, files)) => {
            let until = certificates.first().and_then(expiry::not_after);
            let config = builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| pem::unfit(&error, SETTINGS, files))?;
            expiry.shown_until(until);
            config
        }
    };
    Ok(Clients::of(client))
}

/// What trusts the roots in a file, or else the system's.
fn trusting(
    setting: &'static str,
    ca: Option<&Arc<Path>>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Vec<Invalid>> {
    let roots = ca.map_or_else(|| pem::system_roots(setting), |file| pem::roots(setting, file))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    let verifier = verifier.map_err(|error| wrong(setting, ca, error))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring can do the versions that rustls calls safe");
    Ok(builder.with_webpki_verifier(verifier))
}

/// Named rather than found: rustls finds none once another crate in the tree brings a second one.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Two things that were read, or all that is wrong with them.
fn both<A, B>(one: Result<A, Vec<Invalid>>, other: Result<B, Vec<Invalid>>) -> Result<(A, B), Vec<Invalid>> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err([one, other].concat()),
        (Err(wrong), Ok(_)) | (Ok(_), Err(wrong)) => Err(wrong),
    }
}

/// What is wrong with a file.
fn wrong(setting: &'static str, file: Option<&Arc<Path>>, reason: impl Display) -> Vec<Invalid> {
    vec![match file {
        Some(file) => Invalid::path(setting, file, reason),
        None => Invalid { setting: setting.to_owned(), value: None, reason: reason.to_string() },
    }]
}
