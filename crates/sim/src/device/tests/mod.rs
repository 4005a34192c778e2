//! What the devices do, each behaviour by name. Expected outputs are written as lines of the form
//! `<milliseconds> <operation> <status> <progress> <code> <message>`.

mod after_restart;
mod determinism;
mod failures;
mod happy_path;
mod requests;

use hedgerow_core::{DeviceId, OperationId, Timestamp};

use super::{DeviceInput, DeviceOutput, DeviceProfile, Flavour, SimulatedDevice};

const FLAVOURS: [Flavour; 3] = [Flavour::LinuxRuntime011, Flavour::LinuxRuntime013, Flavour::Esp32];
const LINUX: [Flavour; 2] = [Flavour::LinuxRuntime011, Flavour::LinuxRuntime013];
const URL: &str = "https://images.example/2.0.0?signature=a";
const OTHER_URL: &str = "https://images.example/2.0.0?signature=b";

/// The operation that the lines call by this letter.
fn operation(letter: char) -> OperationId {
    format!("00000000-0000-4000-8000-{:012x}", u32::from(letter)).parse().expect("a UUID")
}

fn update(letter: char, url: &str) -> DeviceInput {
    update_to(letter, url, Some("2.0.0"))
}

fn update_to(letter: char, url: &str, installs: Option<&str>) -> DeviceInput {
    let installs = installs.map(str::to_owned);
    DeviceInput::Update { operation: operation(letter), url: url.to_owned(), installs }
}

fn cancel(letter: char, url: Option<&str>) -> DeviceInput {
    DeviceInput::Cancel { operation: operation(letter), url: url.map(str::to_owned) }
}

/// A device, the time, and what the device has let be seen.
struct Bench {
    device: SimulatedDevice,
    now: Timestamp,
    lines: Vec<String>,
}

impl Bench {
    fn new(flavour: Flavour, profile: DeviceProfile) -> Self {
        let id = DeviceId::from_bytes([7; 16]);
        Self {
            device: SimulatedDevice::new(1, 0, id, flavour, "1.0.0", profile),
            now: Timestamp::default(),
            lines: Vec::new(),
        }
    }

    fn flawless(flavour: Flavour) -> Self {
        Self::new(flavour, DeviceProfile::flawless())
    }

    /// Gives the device an input and returns the lines that answer it at once.
    fn send(&mut self, input: DeviceInput) -> Vec<String> {
        let mut output = Vec::new();
        self.device.handle(self.now, input, &mut output);
        self.note(output)
    }

    fn run_to(&mut self, millis: i64) {
        let end = Timestamp::from_millis(millis);
        while let Some(at) = self.device.next_wake().filter(|&at| at <= end) {
            self.now = at;
            let mut output = Vec::new();
            self.device.wake(at, &mut output);
            self.note(output);
        }
        self.now = end;
    }

    /// Runs until the device waits for an input, an hour at most.
    fn run(&mut self) {
        self.run_to(self.now.as_millis() + 3_600_000);
        assert_eq!(self.device.next_wake(), None);
    }

    /// Runs until a line contains a text.
    fn run_to_line(&mut self, text: &str) {
        let seen = self.lines.len();
        while !self.lines[seen..].iter().any(|line| line.contains(text)) {
            let at = self.device.next_wake().unwrap_or_else(|| panic!("no {text}: {self}"));
            self.run_to(at.as_millis());
        }
    }

    fn note(&mut self, output: Vec<DeviceOutput>) -> Vec<String> {
        let lines: Vec<String> = output.into_iter().map(|output| line(self.now, output)).collect();
        self.lines.extend_from_slice(&lines);
        lines
    }

    /// The lines that contain a text, without their times.
    fn texts(&self, text: &str) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|line| line.contains(text))
            .filter_map(|line| line.split_once(' '))
            .map(|(_, rest)| rest)
            .collect()
    }
}

impl std::fmt::Display for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#?}", self.lines)
    }
}

fn line(now: Timestamp, output: DeviceOutput) -> String {
    let now = now.as_millis();
    match output {
        DeviceOutput::Report { operation, status, progress, code, message, stamp } => {
            assert_eq!(stamp.as_millis(), now);
            let letter = u32::try_from(operation.as_uuid().as_u128() & 0xff).expect("a byte");
            let letter = char::from_u32(letter).expect("a letter");
            format!("{now} {letter} {status} {progress} {code} {message}").trim_end().to_owned()
        }
        DeviceOutput::Connected => format!("{now} connected"),
        DeviceOutput::Disconnected => format!("{now} disconnected"),
        DeviceOutput::BaseImage { version } => format!("{now} base image {version}"),
    }
}
