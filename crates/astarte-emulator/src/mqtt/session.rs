//! The broker's half of one MQTT session: subscriptions, messages that wait for a device, and the
//! handshakes of QoS 1 and 2. No sockets: packets go in, packets come out.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use mqttbytes::QoS;
use mqttbytes::v4::{Packet, PubAck, PubComp, PubRec, PubRel, Publish};

use super::topic::matches;

/// Messages of QoS 1 and 2 that wait for a device; further ones are lost.
pub(crate) const WAITING_MAX: usize = 1000;
/// Messages that are sent and not yet acknowledged.
const IN_FLIGHT_MAX: usize = 20;
/// Messages of QoS 2 that a device has begun and not ended.
const RECEIVED_MAX: usize = 1000;
/// Subscriptions of one session.
const SUBSCRIPTIONS_MAX: usize = 1000;

/// A message for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) quality: QoS,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No subscription takes the topic in.
    Unmatched,
    /// It is or will be on its way to the device.
    Accepted,
    /// It is gone: the device is offline and the quality 0, or too many messages wait.
    Lost,
}

/// The device broke a rule of MQTT; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the device has begun more than {RECEIVED_MAX} messages of QoS 2 without ending one")]
    TooManyReceived,
    #[error("the device has made more than {SUBSCRIPTIONS_MAX} subscriptions")]
    TooManySubscriptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH of QoS 1 sent, PUBACK expected.
    Acknowledge,
    /// PUBLISH of QoS 2 sent, PUBREC expected.
    Receive,
    /// PUBREL sent, PUBCOMP expected.
    Complete,
}

#[derive(Debug)]
struct InFlight {
    id: u16,
    stage: Stage,
    message: Message,
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    subscriptions: Vec<(String, QoS)>,
    waiting: VecDeque<Message>,
    in_flight: VecDeque<InFlight>,
    received: BTreeSet<u16>,
    last_id: u16,
}

impl Session {
    pub(crate) fn subscribe(&mut self, filter: String, quality: QoS) -> Result<(), SessionError> {
        self.unsubscribe(&filter);
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(SessionError::TooManySubscriptions);
        }
        self.subscriptions.push((filter, quality));
        Ok(())
    }

    /// Panics when more is kept than may be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn check_limits(&self) {
        assert!(self.subscriptions.len() <= SUBSCRIPTIONS_MAX);
        assert!(self.waiting.len() <= WAITING_MAX);
        assert!(self.in_flight.len() <= IN_FLIGHT_MAX);
        assert!(self.received.len() <= RECEIVED_MAX);
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) {
        self.subscriptions.retain(|(existing, _)| existing != filter);
    }

    /// A message for the device. `outgoing` is where packets go while it is connected.
    pub(crate) fn publish(
        &mut self,
        mut message: Message,
        outgoing: Option<&mut VecDeque<Packet>>,
    ) -> Fate {
        let subscribed = self
            .subscriptions
            .iter()
            .filter(|(filter, _)| matches(filter, &message.topic))
            .map(|(_, quality)| *quality as u8)
            .max();
        let Some(subscribed) = subscribed else { return Fate::Unmatched };
        if subscribed < message.quality as u8 {
            message.quality = if subscribed == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        }
        if message.quality == QoS::AtMostOnce {
            return match outgoing {
                Some(outgoing) if outgoing.len() < WAITING_MAX => {
                    outgoing.push_back(packet(&message, 0, false));
                    Fate::Accepted
                }
                _ => Fate::Lost,
            };
        }
        if self.waiting.len() >= WAITING_MAX {
            return Fate::Lost;
        }
        self.waiting.push_back(message);
        if let Some(outgoing) = outgoing {
            self.send_waiting(outgoing);
        }
        Fate::Accepted
    }

    /// The device has come back: what was not acknowledged is sent again, then what waits.
    pub(crate) fn resume(&mut self, outgoing: &mut VecDeque<Packet>) {
        for InFlight { id, stage, message } in &self.in_flight {
            outgoing.push_back(match stage {
                Stage::Acknowledge | Stage::Receive => packet(message, *id, true),
                Stage::Complete => Packet::PubRel(PubRel::new(*id)),
            });
        }
        self.send_waiting(outgoing);
    }

    fn send_waiting(&mut self, outgoing: &mut VecDeque<Packet>) {
        while self.in_flight.len() < IN_FLIGHT_MAX {
            let Some(message) = self.waiting.pop_front() else { return };
            let id = self.next_id();
            outgoing.push_back(packet(&message, id, false));
            let stage = match message.quality {
                QoS::ExactlyOnce => Stage::Receive,
                QoS::AtMostOnce | QoS::AtLeastOnce => Stage::Acknowledge,
            };
            self.in_flight.push_back(InFlight { id, stage, message });
        }
    }

    fn next_id(&mut self) -> u16 {
        // Ends, since far fewer identifiers are in use than there are.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.in_flight.iter().all(|in_flight| in_flight.id != self.last_id) {
                return self.last_id;
            }
        }
    }

    /// The device acknowledges something. Acknowledgements of nothing are ignored.
    pub(crate) fn acknowledge(&mut self, packet: &Packet, outgoing: &mut VecDeque<Packet>) {
        let position = |id: u16, stage: Stage| {
            self.in_flight
                .iter()
                .position(|in_flight| in_flight.id == id && in_flight.stage == stage)
        };
        match packet {
            Packet::PubAck(PubAck { pkid }) => {
                if let Some(index) = position(*pkid, Stage::Acknowledge) {
                    self.in_flight.remove(index);
                }
            }
            Packet::PubRec(PubRec { pkid }) => {
                if let Some(index) = position(*pkid, Stage::Receive) {
                    self.in_flight[index].stage = Stage::Complete;
                }
                outgoing.push_back(Packet::PubRel(PubRel::new(*pkid)));
            }
            Packet::PubComp(PubComp { pkid }) => {
                if let Some(index) = position(*pkid, Stage::Complete) {
                    self.in_flight.remove(index);
                }
            }
            _ => {}
        }
        self.send_waiting(outgoing);
    }

    /// The device publishes: whether the message is new, and what is answered.
    pub(crate) fn receive(
        &mut self,
        publish: &Publish,
        outgoing: &mut VecDeque<Packet>,
    ) -> Result<bool, SessionError> {
        match publish.qos {
            QoS::AtMostOnce => Ok(true),
            QoS::AtLeastOnce => {
                outgoing.push_back(Packet::PubAck(PubAck::new(publish.pkid)));
                Ok(true)
            }
            QoS::ExactlyOnce => {
                if self.received.len() >= RECEIVED_MAX {
                    return Err(SessionError::TooManyReceived);
                }
                outgoing.push_back(Packet::PubRec(PubRec::new(publish.pkid)));
                Ok(self.received.insert(publish.pkid))
            }
        }
    }

    /// The device ends a message of QoS 2.
    pub(crate) fn release(&mut self, id: u16, outgoing: &mut VecDeque<Packet>) {
        self.received.remove(&id);
        outgoing.push_back(Packet::PubComp(PubComp::new(id)));
    }
}

fn packet(message: &Message, id: u16, again: bool) -> Packet {
    let mut publish =
        Publish::from_bytes(message.topic.clone(), message.quality, message.payload.clone());
    publish.pkid = id;
    publish.dup = again;
    Packet::Publish(publish)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let mut session = Session::default();
        session.subscribe("p/#".to_owned(), QoS::ExactlyOnce).expect("a subscription");
        session
    }

    fn message(quality: QoS) -> Message {
        Message { topic: "p/interface/path".to_owned(), payload: Bytes::from_static(b"x"), quality }
    }

    fn ids(outgoing: &mut VecDeque<Packet>) -> Vec<(u16, bool)> {
        outgoing
            .drain(..)
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some((publish.pkid, publish.dup)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn quality_0_is_lost_when_the_device_is_offline_and_others_wait() {
        let mut session = session();
        assert_eq!(session.publish(message(QoS::AtMostOnce), None), Fate::Lost);
        assert_eq!(session.publish(message(QoS::AtLeastOnce), None), Fate::Accepted);
        assert_eq!(session.publish(message(QoS::ExactlyOnce), None), Fate::Accepted);
        let mut outgoing = VecDeque::new();
        session.resume(&mut outgoing);
        assert_eq!(ids(&mut outgoing), [(1, false), (2, false)]);
    }

    #[test]
    fn a_message_without_subscription_is_unmatched() {
        let mut session = session();
        let other = Message { topic: "q/a".to_owned(), ..message(QoS::ExactlyOnce) };
        assert_eq!(session.publish(other, None), Fate::Unmatched);
        session.unsubscribe("p/#");
        assert_eq!(session.publish(message(QoS::ExactlyOnce), None), Fate::Unmatched);
    }

    #[test]
    fn no_more_than_the_limit_waits() {
        let mut session = session();
        for _ in 0..WAITING_MAX {
            assert_eq!(session.publish(message(QoS::AtLeastOnce), None), Fate::Accepted);
        }
        assert_eq!(session.publish(message(QoS::AtLeastOnce), None), Fate::Lost);
    }

    #[test]
    fn the_quality_is_the_lower_of_message_and_subscription() {
        let mut session = Session::default();
        session.subscribe("p/#".to_owned(), QoS::AtLeastOnce).expect("a subscription");
        let mut outgoing = VecDeque::new();
        session.publish(message(QoS::ExactlyOnce), Some(&mut outgoing));
        assert!(
            matches!(&outgoing[0], Packet::Publish(publish) if publish.qos == QoS::AtLeastOnce)
        );
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_after_a_reconnect() {
        let mut session = session();
        let mut outgoing = VecDeque::new();
        session.publish(message(QoS::ExactlyOnce), Some(&mut outgoing));
        session.publish(message(QoS::AtLeastOnce), Some(&mut outgoing));
        session.acknowledge(&Packet::PubRec(PubRec::new(1)), &mut outgoing);
        outgoing.clear();
        session.resume(&mut outgoing);
        assert_eq!(outgoing[0], Packet::PubRel(PubRel::new(1)));
        assert_eq!(ids(&mut outgoing), [(2, true)]);
        session.acknowledge(&Packet::PubComp(PubComp::new(1)), &mut outgoing);
        session.acknowledge(&Packet::PubAck(PubAck::new(2)), &mut outgoing);
        outgoing.clear();
        session.resume(&mut outgoing);
        assert!(outgoing.is_empty());
    }

    #[test]
    fn only_a_window_is_in_flight_and_the_rest_follows() {
        let mut session = session();
        let mut outgoing = VecDeque::new();
        for _ in 0..=IN_FLIGHT_MAX {
            session.publish(message(QoS::AtLeastOnce), Some(&mut outgoing));
        }
        assert_eq!(ids(&mut outgoing).len(), IN_FLIGHT_MAX);
        session.acknowledge(&Packet::PubAck(PubAck::new(5)), &mut outgoing);
        assert_eq!(ids(&mut outgoing), [(21, false)]);
    }

    #[test]
    fn acknowledgements_of_nothing_are_ignored() {
        let mut session = session();
        let mut outgoing = VecDeque::new();
        session.publish(message(QoS::ExactlyOnce), Some(&mut outgoing));
        for packet in [
            Packet::PubAck(PubAck::new(1)),
            Packet::PubComp(PubComp::new(1)),
            Packet::PubAck(PubAck::new(77)),
        ] {
            session.acknowledge(&packet, &mut outgoing);
        }
        assert_eq!(session.in_flight.len(), 1);
    }

    #[test]
    fn a_repeated_message_of_quality_2_is_not_new_until_it_was_ended() {
        let mut session = session();
        let mut outgoing = VecDeque::new();
        let mut publish = Publish::new("p", QoS::ExactlyOnce, "x");
        publish.pkid = 9;
        assert_eq!(session.receive(&publish, &mut outgoing), Ok(true));
        assert_eq!(session.receive(&publish, &mut outgoing), Ok(false));
        session.release(9, &mut outgoing);
        assert_eq!(session.receive(&publish, &mut outgoing), Ok(true));
        assert_eq!(outgoing.len(), 4);
    }

    #[test]
    fn a_device_that_never_ends_its_messages_is_stopped() {
        let mut session = session();
        let mut outgoing = VecDeque::new();
        let mut publish = Publish::new("p", QoS::ExactlyOnce, "x");
        for id in 1..=1000 {
            publish.pkid = id;
            assert_eq!(session.receive(&publish, &mut outgoing), Ok(true));
        }
        publish.pkid = 1001;
        assert_eq!(session.receive(&publish, &mut outgoing), Err(SessionError::TooManyReceived));
    }
}
