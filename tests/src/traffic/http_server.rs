//! An HTTP server that says its name and whom it sees.

use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderName, StatusCode};
use axum::response::Json;
use axum::routing::{get, post};
use futures::StreamExt as _;
use futures::stream::unfold;
use tokio::sync::watch;

use super::{Daemon, Greeting, canonical, stream};
use crate::lab::Namespace;

/// HTTP/1.1 on a port of every address of a namespace, both families:
///
/// | request | answer |
/// |---|---|
/// | `GET /` | name and peer |
/// | `GET /hold` | the same, as soon as [`HttpServer::release`] was called |
/// | `GET /bytes/N` | N bytes |
/// | `GET /drip` | a byte now and then, without end |
/// | `POST /count` | how many bytes came |
/// | `POST /echo` | the bytes that came |
/// | `GET /stream/N` | the first N bytes of the lab's stream |
/// | `POST /stream` | how many bytes came; status 400 if one was not the stream's |
#[derive(Debug)]
pub struct HttpServer {
    released: watch::Sender<bool>,
    _daemon: Daemon,
}

impl HttpServer {
    /// Listens when it returns. Dropping it closes the listener and every connection.
    #[must_use]
    pub fn start(ns: &Namespace, name: &str, port: u16) -> Self {
        let listener = ns.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)));
        let listener =
            listener.unwrap_or_else(|error| panic!("listen on TCP port {port} as {name}: {error}"));
        listener.set_nonblocking(true).expect("make a listener non-blocking");
        let (released, watching) = watch::channel(false);
        let routes = routes(Server { name: name.to_owned(), released: watching });
        let daemon = Daemon::start(|| serve(listener, routes));
        Self { released, _daemon: daemon }
    }

    /// Lets requests for `/hold` be answered, those to come as well.
    pub fn release(&self) {
        self.released.send_replace(true);
    }
}

/// Of a drip: long enough that both sides are silent in between.
const BETWEEN_DROPS: Duration = Duration::from_millis(300);

#[derive(Clone)]
struct Server {
    name: String,
    released: watch::Receiver<bool>,
}

async fn serve(listener: TcpListener, routes: Router) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("listen inside the runtime");
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, routes).await.expect("serve HTTP");
}

fn routes(server: Server) -> Router {
    Router::new()
        .route("/", get(greet))
        .route("/hold", get(hold))
        .route("/bytes/{count}", get(bytes))
        .route("/drip", get(drip))
        .route("/count", post(count))
        .route("/echo", post(echo))
        .route("/stream", post(compare))
        .route("/stream/{count}", get(send_stream))
        .layer(DefaultBodyLimit::disable())
        .with_state(server)
}

async fn greet(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Json<Greeting> {
    Json(Greeting { name: server.name, peer: canonical(peer) })
}

async fn hold(
    State(mut server): State<Server>,
    peer: ConnectInfo<SocketAddr>,
) -> Result<Json<Greeting>, StatusCode> {
    let released = server.released.wait_for(|released| *released).await.is_ok();
    if released {
        Ok(greet(State(server), peer).await)
    } else {
        Err(StatusCode::SERVICE_UNAVAILABLE)
    }
}

async fn bytes(Path(count): Path<usize>) -> Body {
    Body::from(vec![b'w'; count])
}

async fn drip() -> Body {
    let drops = unfold((), async |()| {
        tokio::time::sleep(BETWEEN_DROPS).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b"w")), ()))
    });
    Body::from_stream(drops)
}

async fn count(body: Bytes) -> String {
    body.len().to_string()
}

async fn echo(body: Bytes) -> Bytes {
    body
}

async fn compare(body: Body) -> Result<String, (StatusCode, String)> {
    let mut came = 0;
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        if !stream::are_at(came, &piece) {
            return Err((StatusCode::BAD_REQUEST, format!("other bytes from {came} on")));
        }
        came += piece.len() as u64;
    }
    Ok(came.to_string())
}

async fn send_stream(Path(count): Path<u64>) -> ([(HeaderName, String); 1], Body) {
    let pieces = unfold(0, move |sent| async move {
        let piece = stream::bytes_at(sent, count - sent);
        let next = (Ok::<_, Infallible>(Bytes::from_static(piece)), sent + piece.len() as u64);
        (sent < count).then_some(next)
    });
    ([(CONTENT_LENGTH, count.to_string())], Body::from_stream(pieces))
}
