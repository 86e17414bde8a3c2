//! Tells of every request to the API server. Changes none.
//!
//! A watch that nothing happens to says nothing: that it is up is seen here, by its request.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::{Request, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::super::watches::Watches;

/// A request that has been answered, or never will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET` and so on.
    pub method: String,
    /// The API server, as the configuration names it.
    pub host: String,
    /// The status of the answer, if there is one.
    pub code: Option<u16>,
    /// How long the answer took to begin.
    pub took: Duration,
}

/// Who is told.
pub type Observer = Arc<dyn Fn(Asked) + Send + Sync>;

/// Tells an observer of the requests that pass, and the watches that theirs were answered.
pub(super) struct Observed(pub(super) Observer, pub(super) Watches);

impl<S> Layer<S> for Observed {
    type Service = ObservedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self(observer, watches) = self;
        ObservedService { inner, observer: Arc::clone(observer), watches: watches.clone() }
    }
}

/// A client whose requests are told of.
pub(super) struct ObservedService<S> {
    inner: S,
    observer: Observer,
    watches: Watches,
}

impl<S, A, B> Service<Request<A>> for ObservedService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (observer, began) = (Arc::clone(&self.observer), Instant::now());
        let method = request.method().to_string();
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let asked_for = request.uri().path().rsplit('/').next().unwrap_or_default();
        let watch = self.watches.of_plural(asked_for);
        let tell = move |answer: &Result<S::Response, S::Error>| {
            let status = answer.as_ref().ok().map(Response::status);
            if let Some(watch) = watch.filter(|_| status.is_some_and(|it| it.is_success())) {
                watch.heard();
            }
            let code = status.map(|status| status.as_u16());
            observer(Asked { method, host, code, took: began.elapsed() });
        };
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            tell(&answer);
            answer
        }
        .boxed()
    }
}
