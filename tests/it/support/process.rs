//! Child processes that end with the value that owns them.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{in_repository, wait_for};

/// A running child; dropped, it is killed.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end, as Kubernetes does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Asks it to read its configuration again.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let killed = Command::new("kill")
            .args([signal, &self.0.id().to_string()])
            .status();
        assert!(killed.expect("kill can be run").success());
    }

    /// Ends it at once, as a machine that goes away does.
    pub(crate) fn kill(&mut self) {
        self.0.kill().expect("a child can be killed");
        self.0.wait().expect("a child can be waited for");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> ExitStatus {
        wait_for("the end of a process", limit, || self.ended())
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child can be waited for")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    /// Standard output of a command that must succeed.
    pub(crate) fn output(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// Runs a command to its end, for at most 20 seconds.
pub(crate) fn run(command: &mut Command) -> Finished {
    run_for(super::START, command)
}

/// The same for a command that takes its time.
pub(crate) fn run_for(limit: Duration, command: &mut Command) -> Finished {
    // Files, not pipes: nobody reads a pipe while the command is waited for.
    let output = || tempfile::tempfile().expect("a temporary file");
    let (mut stdout, mut stderr) = (output(), output());
    let shared = |file: &File| file.try_clone().expect("a file can be shared");
    command.stdout(shared(&stdout)).stderr(shared(&stderr));
    let status = Process::spawn(command).wait(limit);
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().expect("a file can be rewound");
        file.read_to_end(&mut bytes).expect("a file can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Finished {
        code: status.code(),
        stdout: text(&mut stdout),
        stderr: text(&mut stderr),
    }
}

/// `buf curl` for gRPC without TLS.
pub(crate) fn buf() -> Command {
    let places = [".tools/buf/bin/buf", ".tools/envoy/bin/buf"].map(in_repository);
    let found = places.iter().find(|place| place.exists());
    let mut command = Command::new(found.expect("buf is not there: run scripts/install.sh"));
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]);
    command
}
