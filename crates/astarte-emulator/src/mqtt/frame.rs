//! Cuts a stream of bytes into packets, with the limits of Astarte's broker.

use bytes::BytesMut;
use mqttbytes::v4::{self, Packet};

/// The longest packet that the broker takes, in bytes after the fixed header.
pub(crate) const PACKET_LENGTH_MAX: usize = 65_535;

/// The bytes are no packet that the broker takes; the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a packet of {0} bytes is longer than {PACKET_LENGTH_MAX}")]
    TooLong(usize),
    #[error("not an MQTT 3.1.1 packet: {0:?}")]
    Malformed(mqttbytes::Error),
}

/// The next packet, `None` if it has not come as a whole.
pub(crate) fn next(bytes: &mut BytesMut) -> Result<Option<Packet>, FrameError> {
    match v4::read(bytes, PACKET_LENGTH_MAX) {
        Ok(packet) => Ok(Some(packet)),
        Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
        Err(mqttbytes::Error::PayloadSizeLimitExceeded(length)) => Err(FrameError::TooLong(length)),
        Err(error) => Err(FrameError::Malformed(error)),
    }
}

/// Appends a packet that the broker sends.
pub(crate) fn write(packet: &Packet, bytes: &mut BytesMut) -> Result<(), FrameError> {
    let written = match packet {
        Packet::ConnAck(packet) => packet.write(bytes),
        Packet::Publish(packet) => packet.write(bytes),
        Packet::PubAck(packet) => packet.write(bytes),
        Packet::PubRec(packet) => packet.write(bytes),
        Packet::PubRel(packet) => packet.write(bytes),
        Packet::PubComp(packet) => packet.write(bytes),
        Packet::SubAck(packet) => packet.write(bytes),
        Packet::UnsubAck(packet) => packet.write(bytes),
        Packet::PingResp => v4::PingResp.write(bytes),
        // What only clients send.
        Packet::Connect(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::Disconnect => Err(mqttbytes::Error::IncorrectPacketFormat),
    };
    written.map(drop).map_err(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use mqttbytes::QoS;
    use mqttbytes::v4::Publish;

    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in_however_the_stream_is_cut() {
        let mut publish = Publish::new("test/device/interface/path", QoS::ExactlyOnce, "payload");
        publish.pkid = 7;
        let packet = Packet::Publish(publish);
        let mut whole = BytesMut::new();
        write(&packet, &mut whole).expect("bytes");
        write(&Packet::PingResp, &mut whole).expect("bytes");
        let mut stream = BytesMut::new();
        let mut packets = Vec::new();
        for byte in whole {
            stream.extend_from_slice(&[byte]);
            packets.extend(next(&mut stream).expect("no error"));
        }
        assert_eq!(packets, [packet, Packet::PingResp]);
    }

    #[test]
    fn a_packet_that_is_too_long_is_refused_before_it_has_come() {
        // A PUBLISH whose remaining length is 65,536.
        let mut stream = BytesMut::from(&[0x30, 0x80, 0x80, 0x04][..]);
        assert_eq!(next(&mut stream), Err(FrameError::TooLong(65_536)));
    }

    #[test]
    fn bytes_that_are_no_packet_are_refused() {
        for bytes in [
            &[0x00, 0x00][..],
            &[0xF0, 0x02, 0, 0],
            &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
            &[0x36, 0x04, 0, 1, b'a', 0],
            &[0x32, 0x05, 0, 1, b'a', 0, 0],
            &[0x10, 0x04, 0, 9, b'M', b'Q'],
            &[0x82, 0x01, 0],
            &[0xA2, 0x01, 0],
            &[0x40, 0x01, 0],
            &[0x30, 0x03, 0, 9, b'a'],
        ] {
            let result = next(&mut BytesMut::from(bytes));
            assert!(matches!(result, Err(FrameError::Malformed(_))), "{bytes:?}: {result:?}");
        }
    }

    #[test]
    fn no_bytes_at_all_make_the_reader_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let length = random.usize(2..40);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            // Mostly lengths that fit, so that the packets' own readers are reached.
            bytes[1] = u8::try_from(length - 2).expect("short");
            let mut stream = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = next(&mut stream) {}
        }
    }
}
