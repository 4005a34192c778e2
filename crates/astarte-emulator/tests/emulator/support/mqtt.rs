//! A device without an SDK: it sends and reads single packets, so that tests can do what no good
//! device does. Unlike the SDK in the tests, it checks the broker's certificate.

use std::collections::VecDeque;
use std::sync::Arc;

use bson::{Bson, doc};
use bytes::BytesMut;
use hedgerow_astarte_emulator::{DeviceId, Emulator};
use mqttbytes::QoS;
use mqttbytes::v4::{
    self, ConnAck, Connect, Packet, PubAck, PubComp, PubRec, PubRel, Publish, Subscribe,
};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Api, INTERFACES, PATIENCE, REALM, answer, with_data};

/// What a device has after pairing.
#[derive(Clone)]
pub(crate) struct Paired {
    pub(crate) id: DeviceId,
    pub(crate) secret: String,
    pub(crate) certificate_pem: String,
    key_pem: String,
    ca_pem: String,
    address: std::net::SocketAddr,
}

impl Paired {
    /// Registers a device and lets its certificate be signed.
    pub(crate) async fn new(emulator: &Emulator, api: &Api, id: DeviceId) -> Self {
        let secret = emulator.register_device(REALM, id).expect("a secret");
        let key = KeyPair::generate().expect("a key");
        let request = CertificateParams::default().serialize_request(&key).expect("a request");
        let path = format!("devices/{id}/protocols/astarte_mqtt_v1/credentials");
        let request = with_data(
            api.with_token(&secret).request(Method::POST, "pairing", &path),
            json!({"csr": request.pem().expect("PEM")}),
        );
        let (status, body) = answer(request).await;
        assert_eq!(status, 201, "{body}");
        Self {
            id,
            secret,
            certificate_pem: body["data"]["client_crt"].as_str().expect("a certificate").to_owned(),
            key_pem: key.serialize_pem(),
            ca_pem: emulator.ca_certificate_pem().to_owned(),
            address: emulator.mqtt_address(),
        }
    }

    pub(crate) fn prefix(&self) -> String {
        format!("{REALM}/{}", self.id)
    }

    /// Shows the certificate of another from now on.
    pub(crate) fn impersonate(&mut self, other: &Self) {
        self.certificate_pem.clone_from(&other.certificate_pem);
        self.key_pem.clone_from(&other.key_pem);
    }

    /// The TLS connection, checked against the emulator's authority.
    pub(crate) async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.ca_pem)).expect("an authority");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![der(&self.certificate_pem)], key)
            .expect("a configuration");
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Connects; a clean session unless `persistent`.
    pub(crate) async fn connect(&self, persistent: bool) -> Connection {
        let (connection, answer) = self.try_connect(&self.prefix(), persistent).await;
        assert_eq!(answer.code, v4::ConnectReturnCode::Success);
        connection
    }

    /// Connects under any client id.
    pub(crate) async fn try_connect(
        &self,
        client_id: &str,
        persistent: bool,
    ) -> (Connection, ConnAck) {
        let stream = self.tls().await.expect("a TLS connection");
        let mut connection = Connection::new(stream, &self.prefix());
        let mut connect = Connect::new(client_id);
        connect.clean_session = !persistent;
        connect.keep_alive = 60;
        connection.send(&Packet::Connect(connect)).await;
        let Packet::ConnAck(answer) = connection.next().await else { panic!("no CONNACK") };
        connection.session_present = answer.session_present;
        (connection, answer)
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    bytes: BytesMut,
    pub(crate) prefix: String,
    last_id: u16,
    pub(crate) session_present: bool,
    put_aside: VecDeque<Packet>,
}

impl Connection {
    pub(crate) fn new(stream: TlsStream<TcpStream>, prefix: &str) -> Self {
        Self {
            stream,
            bytes: BytesMut::new(),
            prefix: prefix.to_owned(),
            last_id: 0,
            session_present: false,
            put_aside: VecDeque::new(),
        }
    }

    pub(crate) async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        match packet {
            Packet::Connect(packet) => packet.write(&mut bytes),
            Packet::Publish(packet) => packet.write(&mut bytes),
            Packet::PubAck(packet) => packet.write(&mut bytes),
            Packet::PubRec(packet) => packet.write(&mut bytes),
            Packet::PubRel(packet) => packet.write(&mut bytes),
            Packet::PubComp(packet) => packet.write(&mut bytes),
            Packet::Subscribe(packet) => packet.write(&mut bytes),
            Packet::Unsubscribe(packet) => packet.write(&mut bytes),
            Packet::PingReq => v4::PingReq.write(&mut bytes),
            Packet::Disconnect => v4::Disconnect.write(&mut bytes),
            other => panic!("a device does not send {other:?}"),
        }
        .expect("a packet");
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The broker may have closed the connection already; what it does is seen when reading.
        drop(self.stream.write_all(bytes).await);
        drop(self.stream.flush().await);
    }

    /// The next packet; `None` if the broker closes the connection.
    pub(crate) async fn try_next(&mut self) -> Option<Packet> {
        match self.put_aside.pop_front() {
            Some(packet) => Some(packet),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Option<Packet> {
        loop {
            match v4::read(&mut self.bytes, 1 << 20) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("the broker sends {error:?}"),
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.bytes));
            match read.await.expect("a packet in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn next(&mut self) -> Packet {
        self.try_next().await.expect("the connection is open")
    }

    /// Waits for this packet; others are put aside.
    pub(crate) async fn expect(&mut self, packet: &Packet) {
        loop {
            let next = self.read().await.expect("the connection is open");
            if next == *packet {
                return;
            }
            self.put_aside.push_back(next);
        }
    }

    /// Waits until the broker closes the connection, whatever it still sends.
    pub(crate) async fn closed(mut self) {
        while self.try_next().await.is_some() {}
    }

    pub(crate) fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    /// Publishes with QoS 2, to the end of the handshake.
    pub(crate) async fn publish(&mut self, topic: &str, payload: Vec<u8>) {
        let mut publish = Publish::new(topic, QoS::ExactlyOnce, payload);
        publish.pkid = self.next_id();
        self.send(&Packet::Publish(publish.clone())).await;
        self.expect(&Packet::PubRec(PubRec::new(publish.pkid))).await;
        self.send(&Packet::PubRel(PubRel::new(publish.pkid))).await;
        self.expect(&Packet::PubComp(PubComp::new(publish.pkid))).await;
    }

    /// Publishes without waiting for anything, with QoS 0.
    pub(crate) async fn publish_blindly(&mut self, topic: &str, payload: Vec<u8>) {
        self.send(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload))).await;
    }

    pub(crate) async fn subscribe(&mut self, rest: &str) -> Packet {
        let mut subscribe = Subscribe::new(format!("{}{rest}", self.prefix), QoS::ExactlyOnce);
        subscribe.pkid = self.next_id();
        self.send(&Packet::Subscribe(subscribe)).await;
        self.next().await
    }

    /// Subscribes to everything and tells all interfaces of the tests.
    pub(crate) async fn introduce(&mut self) {
        self.subscribe("/#").await;
        let entries: Vec<String> = INTERFACES
            .iter()
            .map(|definition| {
                let json: serde_json::Value = serde_json::from_str(definition).expect("JSON");
                format!(
                    "{}:{}:{}",
                    json["interface_name"].as_str().expect("a name"),
                    json["version_major"],
                    json["version_minor"]
                )
            })
            .collect();
        let prefix = self.prefix.clone();
        self.publish(&prefix, entries.join(";").into_bytes()).await;
    }

    /// Sets a property or sends a value.
    pub(crate) async fn set(&mut self, rest: &str, value: Bson) {
        let topic = format!("{}/{rest}", self.prefix);
        self.publish(&topic, doc! {"v": value}.to_vec().expect("BSON")).await;
    }

    /// The next message from the server, after its handshake.
    pub(crate) async fn message(&mut self) -> Publish {
        let Packet::Publish(publish) = self.next().await else { panic!("no PUBLISH") };
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send(&Packet::PubAck(PubAck::new(publish.pkid))).await,
            QoS::ExactlyOnce => {
                self.send(&Packet::PubRec(PubRec::new(publish.pkid))).await;
                self.expect(&Packet::PubRel(PubRel::new(publish.pkid))).await;
                self.send(&Packet::PubComp(PubComp::new(publish.pkid))).await;
            }
        }
        publish
    }

    /// Makes sure that everything sent so far has been seen, and nothing else came.
    pub(crate) async fn ping(&mut self) {
        self.send(&Packet::PingReq).await;
        self.expect(&Packet::PingResp).await;
        assert_eq!(self.put_aside, []);
    }
}
