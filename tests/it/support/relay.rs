//! A name that moves: a TCP relay to one of several servers. Whoever is connected stays with the server that it came to, as
//! behind a managed Redis, HAProxy or a service of Kubernetes.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

/// A running relay; it ends with the test's runtime.
pub(crate) struct Relay {
    port: u16,
    target: Arc<Mutex<String>>,
}

impl Relay {
    /// To this port of loopback.
    pub(crate) async fn to(port: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            target: Arc::new(Mutex::new(port.to_owned())),
        };
        let target = relay.target.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let address = format!("127.0.0.1:{}", target.lock().unwrap());
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(address).await else { return };
                    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        relay
    }

    /// Whoever connects from now on comes to this port.
    pub(crate) fn leads_to(&self, port: &str) {
        port.clone_into(&mut self.target.lock().unwrap());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
