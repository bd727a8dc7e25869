//! Several gateways of one site: one store, each with its own token cache.

use std::net::SocketAddr;
use std::sync::Arc;

use tempfile::TempDir;
use tokengate::config::Settings;
use tokengate::config::settings::{self, StoreUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::watched::Watched;
use super::{Gateway, PATIENCE, Site};

/// Gateways that share a store.
pub struct Fleet {
    pub gateways: Vec<Gateway>,
    /// The store of each gateway.
    pub stores: Vec<Arc<Watched>>,
    _folder: TempDir,
}

impl Fleet {
    /// `count` gateways with one SQLite file.
    pub async fn over_sqlite(count: usize, change: impl Fn(&mut Settings)) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("tokengate.db"));
        Fleet::over(url, folder, count, change).await
    }

    /// `count` gateways with any store; the key file is in `folder`.
    pub async fn over(url: StoreUrl, folder: TempDir, count: usize, change: impl Fn(&mut Settings)) -> Fleet {
        let endpoint = endpoint().await;
        let (mut gateways, mut stores) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let site = Site::before_all(&[endpoint]).with(|settings| {
                let store = settings::Store::at(url.clone(), folder.path().join("tokengate.key"));
                let (timeout, unknown_per_second) = (PATIENCE, u32::MAX);
                settings.store = settings::Store { max_connections: 4, timeout, unknown_per_second, ..store };
                change(settings);
            });
            let (gateway, store) = Watched::start(site).await;
            gateways.push(gateway);
            stores.push(store);
        }
        Fleet { gateways, stores, _folder: folder }
    }

    /// Waits until every gateway has applied all changes up to now.
    pub async fn changes_are_applied(&self) {
        for store in &self.stores {
            store.changes_are_applied().await;
        }
    }

    pub fn first(&self) -> &Gateway {
        self.gateways.first().unwrap()
    }
}

/// An endpoint that answers 200 as fast as possible, and records nothing.
async fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut unread = Vec::new();
                let mut part = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut part).await {
                    unread.extend_from_slice(&part[..length]);
                    while let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                        unread.drain(..end + 4);
                        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}
