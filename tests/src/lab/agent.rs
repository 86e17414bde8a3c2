//! The real agent, as a process in a node's namespace.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cgroup, Namespace, wait_for};

/// A running `waggle`. What it prints is kept, and shown when the test that owns it fails.
#[derive(Debug)]
pub struct Agent {
    program: PathBuf,
    arguments: Vec<OsString>,
    printed: Arc<Mutex<String>>,
    process: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Starts `waggle` with these arguments, the subcommand included, inside a namespace: the binary
    /// that `WAGGLE_BIN` names, else the one beside the running test.
    #[must_use]
    pub fn start<A: Into<OsString>>(
        ns: &Namespace,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self::start_program(ns, binary(), arguments)
    }

    /// Starts another program in its place: another version, for upgrades.
    #[must_use]
    pub fn start_program<A: Into<OsString>>(
        ns: &Namespace,
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        let (program, printed) = (program.into(), Arc::default());
        let mut arguments: Vec<_> = arguments.into_iter().map(Into::into).collect();
        keep_to_cgroup(ns, &mut arguments);
        let (process, readers) = launch(ns, &program, &arguments, &printed);
        Self { program, arguments, printed, process, readers }
    }

    /// Starts it again with the same arguments; one that still runs is killed first.
    pub fn restart(&mut self, ns: &Namespace) {
        self.kill();
        (self.process, self.readers) = launch(ns, &self.program, &self.arguments, &self.printed);
    }

    /// SIGKILL. Does nothing to one that has ended.
    pub fn kill(&mut self) {
        self.process.kill().ok();
        self.wait();
    }

    /// SIGTERM, and waits for its end; panics if it takes longer than half a minute.
    pub fn stop(&mut self) -> ExitStatus {
        kill(self.pid(), Signal::SIGTERM).ok();
        let patience = Duration::from_secs(30);
        let process = &mut self.process;
        wait_for("the agent has ended after SIGTERM", patience, || {
            process.try_wait().expect("look after the agent").ok_or("it is still running")
        });
        self.wait()
    }

    /// Waits for `attempt` to succeed and returns its value; panics with what the agent printed when
    /// patience runs out, and at once when the agent has ended.
    #[track_caller]
    pub fn wait_ready<T, E: Display>(
        &mut self,
        what: &str,
        patience: Duration,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> T {
        wait_for(what, patience, || {
            let ended = self.process.try_wait().expect("look after the agent");
            assert!(
                ended.is_none(),
                "the agent has ended ({}) before {what}",
                ended.unwrap_or_default()
            );
            attempt()
        })
    }

    /// Waits until the agent has printed `text`.
    #[track_caller]
    pub fn wait_printed(&mut self, text: &str, patience: Duration) {
        let printed = Arc::clone(&self.printed);
        self.wait_ready(&format!("the agent has printed {text:?}"), patience, || {
            if lines(&printed).contains(text) { Ok(()) } else { Err("it has not") }
        });
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_ended(&mut self, patience: Duration) -> ExitStatus {
        let process = &mut self.process;
        wait_for("the agent has ended by itself", patience, || {
            process.try_wait().expect("look after the agent").ok_or("it is still running")
        });
        self.wait()
    }

    /// Everything it printed so far, standard output and error mixed, restarts included.
    #[must_use]
    pub fn printed(&self) -> String {
        lines(&self.printed)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn wait(&mut self) -> ExitStatus {
        let status = self.process.wait().expect("wait for the agent");
        for reader in self.readers.drain(..) {
            reader.join().expect("read what the agent prints");
        }
        status
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- the agent {:?} printed:\n{}---", self.arguments, self.printed());
        }
    }
}

/// Runs `waggle` with these arguments inside a namespace and waits for its end.
#[must_use]
pub fn waggle(ns: &Namespace, arguments: &[&str]) -> Output {
    let binary = binary();
    let mut command = Command::new(&binary);
    let mut arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
    keep_to_cgroup(ns, &mut arguments);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let process = ns.spawn(&mut command);
    let process = process.unwrap_or_else(|error| panic!("start {}: {error}", binary.display()));
    process.wait_with_output().expect("read what waggle prints")
}

/// An agent on a node of the lab attaches to the node's cgroup, not to the machine's.
fn keep_to_cgroup(ns: &Namespace, arguments: &mut Vec<OsString>) {
    let is_agent = arguments.first().is_some_and(|command| command == "run");
    if let Some(cgroup) = ns.cgroup().map(Cgroup::path).filter(|_| is_agent) {
        arguments.extend(["--cgroup-root".into(), cgroup.into()]);
    }
}

fn launch(
    ns: &Namespace,
    program: &Path,
    arguments: &[OsString],
    printed: &Arc<Mutex<String>>,
) -> (Child, Vec<JoinHandle<()>>) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = ns
        .spawn(&mut command)
        .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
    let output = process.stdout.take().expect("the agent's standard output is a pipe");
    let errors = process.stderr.take().expect("the agent's standard error is a pipe");
    let readers = vec![collect(output, Arc::clone(printed)), collect(errors, Arc::clone(printed))];
    (process, readers)
}

fn collect(pipe: impl Read + Send + 'static, printed: Arc<Mutex<String>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut printed = printed.lock().unwrap_or_else(PoisonError::into_inner);
            printed.push_str(&String::from_utf8_lossy(&line));
            printed.push('\n');
        }
    })
}

fn lines(printed: &Mutex<String>) -> String {
    printed.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// `WAGGLE_BIN`, else `waggle` in the target directory that holds the running test.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("WAGGLE_BIN") {
        return path.into();
    }
    let test = env::current_exe().expect("the running test has a path");
    let found = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("waggle"))
        .find(|file| file.is_file());
    found.expect("waggle is beside the tests: build it with `cargo build -p lb-userspace`, or set WAGGLE_BIN")
}
