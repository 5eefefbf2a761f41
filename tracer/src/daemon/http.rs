//! Questions over HTTP: `/metrics`, `/healthz`, `/readyz`. The answers come from the daemon's
//! loop, so that a loop that hangs answers nothing and is told to be unhealthy.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::export::prometheus::Exposition;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS: usize = 32;
/// How long a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the loop may take for an answer before it counts as hung. Reading a full flow table
/// takes part of a second.
const HUNG: Duration = Duration::from_secs(4);
/// After a failure to accept, as when the process is out of file descriptors.
const RESPITE: Duration = Duration::from_millis(100);

/// What a client wants to know of the loop.
#[derive(Debug)]
pub enum Question {
    /// The metrics, in one of the two forms.
    Metrics(Exposition, oneshot::Sender<String>),
    /// Whether the programs are attached.
    Ready(oneshot::Sender<Result<(), String>>),
    /// Whether the loop goes round.
    Alive(oneshot::Sender<()>),
}

type Answer = Response<Full<Bytes>>;

/// Serves until `stop` is done, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    questions: mpsc::Sender<Question>,
    stop: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        loop {
            // Never closed.
            let Ok(permit) = room.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, questions.clone(), &graceful);
                    tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("a connection could not be accepted: {error}");
                    tokio::time::sleep(RESPITE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    graceful.shutdown().await;
}

fn connection(
    stream: TcpStream,
    questions: mpsc::Sender<Question>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let service = service_fn(move |request| {
        let questions = questions.clone();
        async move { Ok::<_, Infallible>(answer(&request, &questions).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    let watched = graceful.watch(connection);
    async move {
        if let Err(error) = watched.await {
            tracing::debug!("a client left early: {error}");
        }
    }
}

async fn answer(request: &Request<Incoming>, questions: &mpsc::Sender<Question>) -> Answer {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
    }
    match request.uri().path() {
        "/metrics" => metrics(request, questions).await,
        "/healthz" => match ask(questions, Question::Alive).await {
            Some(()) => plain(StatusCode::OK, "ok\n"),
            None => hung(),
        },
        "/readyz" => match ask(questions, Question::Ready).await {
            Some(Ok(())) => plain(StatusCode::OK, "ok\n"),
            Some(Err(reason)) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            None => hung(),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
    }
}

async fn metrics(request: &Request<Incoming>, questions: &mpsc::Sender<Question>) -> Answer {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let form = Exposition::accepted_by(accept.unwrap_or_default());
    match ask(questions, |sender| Question::Metrics(form, sender)).await {
        Some(text) => with_type(StatusCode::OK, form.content_type(), text),
        None => hung(),
    }
}

/// The loop's answer; `None` when it gives none in time.
async fn ask<T>(
    questions: &mpsc::Sender<Question>,
    question: impl FnOnce(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    let asked = async {
        questions.send(question(sender)).await.ok()?;
        answer.await.ok()
    };
    timeout(HUNG, asked).await.ok().flatten()
}

fn hung() -> Answer {
    plain(StatusCode::SERVICE_UNAVAILABLE, "the collector gives no answer\n")
}

fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", text.into())
}

fn with_type(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
