//! What all parts of a running emulator share, and the things that happen to devices through more
//! than one of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use chrono::TimeDelta;
use mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, Publish};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::authority::Authority;
use crate::clock::Clock;
use crate::device::{Device, Link};
use crate::device_id::DeviceId;
use crate::event::{DeviceEvent, Event};
use crate::faults::Faults;
use crate::hooks::Hook;
use crate::ingest::{Ingested, Refusal, ingest};
use crate::mqtt::session::{Session, SessionError};
use crate::mqtt::topic::{self, Incoming};
use crate::realm::{Realm, State};
use crate::recorder::{self, Recorder};
use crate::trigger::delivery::{Delivery, TriggerEngine};
use crate::version::Version;

pub(crate) struct Platform {
    pub(crate) clock: Clock,
    pub(crate) version: Version,
    pub(crate) faults: Faults,
    pub(crate) authority: Authority,
    pub(crate) engine: Arc<TriggerEngine>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) realms: BTreeMap<String, Arc<Realm>>,
    /// What devices are told to connect to.
    pub(crate) broker_url: String,
    pub(crate) stop: CancellationToken,
    pub(crate) links_ever: AtomicU64,
    /// Whether the broker is down, as a fault.
    pub(crate) broker_is_down: AtomicBool,
}

/// A connection as its tasks hold it.
#[derive(Debug, Clone)]
pub(crate) struct LinkHandle {
    pub(crate) device: DeviceId,
    pub(crate) number: u64,
    pub(crate) wake: Arc<Notify>,
    pub(crate) close: CancellationToken,
}

/// Why the broker closes a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Closing {
    #[error("the device said goodbye")]
    Disconnect,
    #[error("the connection is no longer the device's")]
    Superseded,
    #[error("the device may not use the topic {0:?}")]
    Topic(String),
    #[error("the packet is not one that a device may send now")]
    UnexpectedPacket,
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("Astarte refuses the message: {0}")]
    Refused(&'static str),
    #[error("the device does not read what it is sent")]
    Unread,
}

/// Packets that wait for a device that does not read them.
const OUTGOING_MAX: usize = 4000;

impl Platform {
    /// Gives an event to the triggers that it fits.
    pub(crate) fn emit(&self, realm: &Realm, state: &State, event: &DeviceEvent) {
        for trigger in state.triggers.values() {
            if !trigger.fires(event, |group| state.is_member(group, event.device)) {
                continue;
            }
            let delivery = Delivery {
                realm: Arc::clone(&realm.name),
                action: Arc::clone(&trigger.action),
                policy: trigger.policy.as_ref().and_then(|name| state.policies.get(name).cloned()),
                body: Bytes::from(event.to_json(&trigger.name).to_string()),
            };
            self.engine.offer(delivery, self.faults.on_event(event));
        }
    }

    pub(crate) fn emit_now(&self, realm: &Realm, state: &State, device: DeviceId, event: Event) {
        let timestamp = self.clock.now();
        self.emit(realm, state, &DeviceEvent { device, timestamp, event });
    }

    /// A device has connected. `Err`: it is not known. An older connection of it is closed.
    pub(crate) fn connect(
        &self,
        realm: &Realm,
        id: DeviceId,
        clean_session: bool,
        address: IpAddr,
    ) -> Result<LinkHandle, ConnectReturnCode> {
        let now = self.clock.now();
        let mut state = realm.lock();
        // Looked at under the lock, so that no connection slips in while all are closed.
        if self.broker_is_down.load(Ordering::SeqCst) {
            return Err(ConnectReturnCode::ServiceUnavailable);
        }
        if !state.devices.contains_key(&id) {
            return Err(ConnectReturnCode::NotAuthorized);
        }
        self.close_link(realm, &mut state, id);
        let device = state.devices.get_mut(&id).ok_or(ConnectReturnCode::NotAuthorized)?;
        if clean_session {
            device.session = None;
        }
        let session_present = device.session.is_some();
        let session = device.session.get_or_insert_with(Session::default);
        let number = self.links_ever.fetch_add(1, Ordering::Relaxed);
        let mut link = Link {
            number,
            outgoing: [Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, session_present))]
                .into(),
            wake: Arc::new(Notify::new()),
            close: self.stop.child_token(),
            is_persistent: !clean_session,
        };
        session.resume(&mut link.outgoing);
        link.wake.notify_one();
        device.last_connection = Some(now);
        device.last_seen_address = Some(address);
        let handle = LinkHandle {
            device: id,
            number,
            wake: Arc::clone(&link.wake),
            close: link.close.clone(),
        };
        device.link = Some(link);
        self.emit_now(realm, &state, id, Event::DeviceConnected { address });
        Ok(handle)
    }

    /// The connection has ended. Nothing if the device has another one by now.
    pub(crate) fn disconnected(&self, realm: &Realm, handle: &LinkHandle) {
        let mut state = realm.lock();
        let is_current = state
            .devices
            .get(&handle.device)
            .and_then(|device| device.link.as_ref())
            .is_some_and(|link| link.number == handle.number);
        if is_current {
            self.close_link(realm, &mut state, handle.device);
        }
    }

    /// Closes the device's connection, if it has one. Returns whether it had.
    pub(crate) fn close_link(&self, realm: &Realm, state: &mut State, id: DeviceId) -> bool {
        let Some(device) = state.devices.get_mut(&id) else { return false };
        let Some(link) = device.link.take() else { return false };
        link.close.cancel();
        if !link.is_persistent {
            device.session = None;
        }
        device.last_disconnection = Some(self.clock.now());
        self.emit_now(realm, state, id, Event::DeviceDisconnected);
        true
    }

    /// What the device is to be sent now; `None` if the connection is no longer its own.
    pub(crate) fn outgoing(&self, realm: &Realm, handle: &LinkHandle) -> Option<Vec<Packet>> {
        let mut state = realm.lock();
        let link = state.devices.get_mut(&handle.device)?.link.as_mut()?;
        if link.number != handle.number {
            return None;
        }
        let packets: Vec<Packet> = link.outgoing.drain(..).collect();
        for packet in &packets {
            if let Packet::Publish(Publish { topic, qos, payload, .. }) = packet {
                self.recorder.record(|| {
                    let prefix = realm.prefix(handle.device);
                    recorder::to_device(handle.device, topic, &prefix, *qos, payload)
                });
            }
        }
        Some(packets)
    }

    /// A packet has come from the device.
    pub(crate) fn packet(
        &self,
        realm: &Realm,
        handle: &LinkHandle,
        packet: Packet,
    ) -> Result<(), Closing> {
        let prefix = realm.prefix(handle.device);
        let mut guard = realm.lock();
        let state = &mut *guard;
        let device = state.devices.get_mut(&handle.device).ok_or(Closing::Superseded)?;
        let (Some(session), Some(link)) = (&mut device.session, &mut device.link) else {
            return Err(Closing::Superseded);
        };
        if link.number != handle.number {
            return Err(Closing::Superseded);
        }
        if link.outgoing.len() > OUTGOING_MAX {
            return Err(Closing::Unread);
        }
        link.wake.notify_one();
        match packet {
            Packet::Publish(publish) => {
                let Some(incoming) = topic::incoming(&publish.topic, &prefix) else {
                    return Err(Closing::Topic(publish.topic));
                };
                self.recorder.record(|| {
                    let Publish { topic, qos, payload, .. } = &publish;
                    recorder::from_device(handle.device, topic, &prefix, *qos, payload)
                });
                if session.receive(&publish, &mut link.outgoing)? {
                    return self.message(realm, state, handle.device, incoming, &publish.payload);
                }
            }
            Packet::PubRel(release) => session.release(release.pkid, &mut link.outgoing),
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) => {
                session.acknowledge(&packet, &mut link.outgoing);
            }
            Packet::Subscribe(subscribe) => {
                let answer = crate::mqtt::connection::subscribe(session, subscribe, &prefix)?;
                link.outgoing.push_back(answer);
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.topics {
                    session.unsubscribe(filter);
                }
                let answer = mqttbytes::v4::UnsubAck::new(unsubscribe.pkid);
                link.outgoing.push_back(Packet::UnsubAck(answer));
            }
            Packet::PingReq => link.outgoing.push_back(Packet::PingResp),
            Packet::Disconnect => return Err(Closing::Disconnect),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(Closing::UnexpectedPacket),
        }
        Ok(())
    }

    fn message(
        &self,
        realm: &Realm,
        state: &mut State,
        id: DeviceId,
        incoming: Incoming<'_>,
        payload: &Bytes,
    ) -> Result<(), Closing> {
        let now = self.clock.now();
        let State { devices, interfaces, .. } = state;
        let device = devices.get_mut(&id).ok_or(Closing::Superseded)?;
        match ingest(device, interfaces, &realm.prefix(id), incoming, payload, now) {
            Ok(Ingested { events, messages }) => {
                for message in messages {
                    device.publish(message);
                }
                for event in &events {
                    self.emit(realm, state, event);
                }
                Ok(())
            }
            Err(Refusal { name, metadata }) => {
                tracing::debug!(device = %id, name, "a message is refused");
                // The session goes too, so that the device introduces itself anew.
                device.session = None;
                if let Some(link) = &mut device.link {
                    link.is_persistent = false;
                }
                self.emit_now(realm, state, id, Event::DeviceError { name, metadata });
                Err(Closing::Refused(name))
            }
        }
    }

    /// Registers a device, or gives one that has not yet asked for credentials a new secret.
    /// `None` if it has, or there is no more room.
    pub(crate) fn register(&self, realm: &Realm, id: DeviceId, secret: String) -> Option<String> {
        let mut state = realm.lock();
        if let Some(device) = state.devices.get_mut(&id) {
            if device.first_credentials_request.is_some() {
                return None;
            }
            device.credentials_secret.clone_from(&secret);
        } else {
            if state.devices.len() >= crate::realm::DEVICES_MAX {
                return None;
            }
            state.add_device(Device::new(id, secret.clone(), self.clock.now()));
        }
        self.emit_now(realm, &state, id, Event::DeviceRegistered);
        Some(secret)
    }

    /// Closes a device's connection as a fault. Returns whether it had one.
    pub(crate) fn disconnect(&self, realm: &Realm, id: DeviceId) -> bool {
        self.faults.hooks.used(Hook::Disconnect);
        self.close_link(realm, &mut realm.lock(), id)
    }

    /// Sets a device's clock wrong. Returns whether there is such a device.
    pub(crate) fn set_device_clock(&self, realm: &Realm, id: DeviceId, offset: TimeDelta) -> bool {
        self.faults.hooks.used(Hook::DeviceClock);
        let mut state = realm.lock();
        let device = state.devices.get_mut(&id);
        device.map(|device| device.clock_offset = offset).is_some()
    }

    /// Sets the emulator's own clock wrong.
    pub(crate) fn set_clock(&self, offset: TimeDelta) {
        self.faults.hooks.used(Hook::Clock);
        self.clock.set_offset(offset);
    }

    /// Forgets what the broker keeps for a device between connections, and closes its connection,
    /// so that it notices.
    pub(crate) fn lose_session(&self, realm: &Realm, id: DeviceId) {
        self.faults.hooks.used(Hook::LoseSession);
        let mut state = realm.lock();
        self.close_link(realm, &mut state, id);
        if let Some(device) = state.devices.get_mut(&id) {
            device.session = None;
        }
    }

    /// Lets the broker go down, which closes all connections, or come up again.
    pub(crate) fn set_broker_down(&self, is_down: bool) {
        self.broker_is_down.store(is_down, Ordering::SeqCst);
        if !is_down {
            return;
        }
        self.faults.hooks.used(Hook::BrokerDown);
        for realm in self.realms.values() {
            let mut state = realm.lock();
            let ids: Vec<DeviceId> = state.devices.keys().copied().collect();
            for id in ids {
                self.close_link(realm, &mut state, id);
            }
        }
    }

    /// Deletes a device with all that is stored of it. Returns whether there was one.
    pub(crate) fn delete_device(&self, realm: &Realm, id: DeviceId) -> bool {
        let mut state = realm.lock();
        if !state.devices.contains_key(&id) {
            return false;
        }
        self.emit_now(realm, &state, id, Event::DeviceDeletionStarted);
        self.close_link(realm, &mut state, id);
        // Told while the device is still a member of its groups, so that their triggers fire.
        self.emit_now(realm, &state, id, Event::DeviceDeletionFinished);
        state.remove_device(id);
        true
    }
}
