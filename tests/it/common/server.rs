//! The whole service on a port of its own, with an engine that gives known vectors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use siglip2_embeddings::http::{HttpSettings, ServeError, Spans, serve};
use siglip2_embeddings::service::{Models, Service};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::engine::{self, Orders};

/// Rows that the service takes at once, unless a test says something else.
const ROWS: usize = 2048;

pub struct Server {
    pub address: SocketAddr,
    pub service: Service,
    pub orders: Arc<Orders>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub async fn start(settings: HttpSettings) -> Self {
        Self::with_rows(ROWS, settings).await
    }

    /// A server whose queue holds so many rows.
    pub async fn with_rows(rows: usize, settings: HttpSettings) -> Self {
        let (service, orders) = engine::service(rows);
        Self::with_service(service, orders, settings).await
    }

    /// A server whose service has no engine yet.
    pub async fn starting() -> Self {
        let service = engine::starting(ROWS);
        Self::with_service(service, Arc::default(), HttpSettings::default()).await
    }

    /// A server with an engine of its own.
    pub async fn of(service: Service) -> Self {
        Self::with_service(service, Arc::default(), HttpSettings::default()).await
    }

    /// A server of a service that a test made, with settings.
    pub async fn serving(service: Service, settings: HttpSettings) -> Self {
        Self::with_service(service, Arc::default(), settings).await
    }

    /// A server that sends spans of its requests.
    pub async fn sending_spans(service: Service, spans: Spans) -> Self {
        Self::all(
            service.into(),
            Arc::default(),
            HttpSettings::default(),
            Some(spans),
        )
        .await
    }

    /// A server of several models; `service` is the first.
    pub async fn of_models(models: Models) -> Self {
        Self::all(models, Arc::default(), HttpSettings::default(), None).await
    }

    async fn with_service(service: Service, orders: Arc<Orders>, settings: HttpSettings) -> Self {
        Self::all(service.into(), orders, settings, None).await
    }

    async fn all(
        models: Models,
        orders: Arc<Orders>,
        settings: HttpSettings,
        spans: Option<Spans>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let service = models.first().clone();
        let serving = serve(listener, models, settings, spans, async move {
            let _ = stopped.await;
        });
        Self {
            address,
            service,
            orders,
            stop,
            served: tokio::spawn(serving),
        }
    }

    /// Begins the shutdown, and gives what waits for its end.
    pub fn stop(self) -> JoinHandle<Result<(), ServeError>> {
        let _ = self.stop.send(());
        self.served
    }
}

/// Settings that make a test of a timeout short.
pub fn quick() -> HttpSettings {
    HttpSettings {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(900),
        body_idle_timeout: Duration::from_millis(300),
        body_timeout: Duration::from_millis(1200),
        request_timeout: Duration::from_millis(500),
        write_timeout: Duration::from_millis(500),
        drain_timeout: Duration::from_millis(800),
        ..HttpSettings::default()
    }
}
