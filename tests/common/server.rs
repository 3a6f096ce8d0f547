//! The whole service on a port of its own, with an engine that gives known vectors.

use std::net::SocketAddr;
use std::time::Duration;

use siglip2_embeddings::http::{HttpSettings, ServeError, serve};
use siglip2_embeddings::service::Service;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Server {
    pub address: SocketAddr,
    pub service: Service,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub async fn start(settings: HttpSettings) -> Self {
        Self::with(Service::fake(), settings).await
    }

    pub async fn with(service: Service, settings: HttpSettings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = serve(listener, service.clone(), settings, async move {
            let _ = stopped.await;
        });
        Self {
            address,
            service,
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

/// A small picture of one color.
pub fn png(red: u8, green: u8, blue: u8) -> Vec<u8> {
    let picture = image::RgbImage::from_pixel(8, 8, image::Rgb([red, green, blue]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG");
    bytes.into_inner()
}
