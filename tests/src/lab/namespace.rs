//! A named network namespace, and the ways to do something inside it.
//!
//! A namespace belongs to a thread. Whatever runs inside runs in a thread of its own that entered
//! it; the caller's thread never changes its namespace, so tests may run in parallel in one process.

use std::fs::{self, File};
use std::io::{self, Write};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Once};
use std::thread;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use super::Cgroup;
use super::leftovers::{NAMESPACES, fresh_name, require_root, while_not_ending};

/// A network namespace with `lo` up, removed when dropped. `ip -n NAME` and `nsenter` find it by
/// its name while it lives.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    file: File,
    cgroup: Option<Arc<Cgroup>>,
}

impl Namespace {
    /// Makes a namespace named `wg-<pid>-<n>-<label>`.
    #[must_use]
    pub fn new(label: &str) -> Self {
        static PREPARED: Once = Once::new();
        require_root();
        PREPARED.call_once(|| prepare_directory().expect("make the directory of named namespaces"));
        let name = fresh_name(label);
        let path = Path::new(NAMESPACES).join(&name);
        let pinned = thread::scope(|scope| {
            join(scope.spawn(|| while_not_ending(|| pin_new_namespace(&path))))
        });
        let file = pinned.and_then(|()| File::open(&path));
        let namespace = Self {
            file: file.unwrap_or_else(|error| panic!("make the namespace {name}: {error}")),
            name,
            cgroup: None,
        };
        namespace.calm();
        namespace.ip("link set lo up");
        namespace
    }

    /// Makes one whose processes and sockets belong to `cgroup`.
    #[must_use]
    pub(super) fn in_cgroup(label: &str, cgroup: &Arc<Cgroup>) -> Self {
        let mut namespace = Self::new(label);
        namespace.cgroup = Some(Arc::clone(cgroup));
        namespace
    }

    /// The cgroup of what is done inside, if it is not that of this process.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_deref()
    }

    /// Its name under `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` in a fresh thread inside the namespace. Sockets made there stay in the namespace
    /// wherever they are used later. A panic of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            join(scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|error| panic!("enter the namespace {}: {error}", self.name));
                if let Some(cgroup) = &self.cgroup {
                    cgroup.enter().expect("enter a cgroup");
                }
                work()
            }))
        })
    }

    /// Starts a child inside the namespace. Only the network differs: mounts and `/sys` are the
    /// caller's, unlike under `ip netns exec`.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.run(|| while_not_ending(|| command.spawn()))
    }

    /// Runs commands of `ip`, one a line, without the word `ip`; panics at the first that fails.
    #[track_caller]
    pub fn ip(&self, script: &str) {
        let mut command = Command::new("ip");
        command
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(&mut command).expect("start ip");
        let mut input = child.stdin.take().expect("ip has a standard input");
        input.write_all(script.as_bytes()).expect("write to ip");
        drop(input);
        let output = child.wait_with_output().expect("wait for ip");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip in {}: {complaint}of\n{script}", self.name);
    }

    /// Runs a command inside the namespace and returns what it printed; panics if it fails.
    #[track_caller]
    #[must_use]
    pub fn output(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(|| Command::new(program).args(arguments).output());
        let output = output.unwrap_or_else(|error| panic!("start {program}: {error}"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?} in {}: {complaint}", self.name);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sets sysctls by their dotted names. Those of interfaces need the interface to be there.
    #[track_caller]
    pub fn sysctls(&self, settings: &[(&str, &str)]) {
        self.run(|| {
            for (name, value) in settings {
                fs::write(sysctl_path(name), value).unwrap_or_else(|error| {
                    panic!("set {name} to {value} in {}: {error}", self.name)
                });
            }
        });
    }

    /// The value of a sysctl, without its newline.
    #[track_caller]
    #[must_use]
    pub fn sysctl(&self, name: &str) -> String {
        let value = self.run(|| fs::read_to_string(sysctl_path(name)));
        value.unwrap_or_else(|error| panic!("read {name}: {error}")).trim_end().to_owned()
    }

    /// Makes it a router for both families.
    pub(super) fn forward_packets(&self) {
        self.sysctls(&[("net.ipv4.ip_forward", "1"), ("net.ipv6.conf.all.forwarding", "1")]);
    }

    /// No limit on ICMP errors, no duplicate address detection, no router advertisements: what is
    /// configured is usable at once, and what goes wrong is told every time.
    fn calm(&self) {
        self.sysctls(&[
            ("net.ipv4.icmp_ratelimit", "0"),
            ("net.ipv6.icmp.ratelimit", "0"),
            ("net.ipv6.conf.all.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_dad", "0"),
            ("net.ipv6.conf.default.accept_ra", "0"),
            ("net.ipv6.conf.default.disable_ipv6", "0"),
        ]);
        // Of each namespace only since kernel 6.13; the host's own limit is not ours to change.
        self.run(|| fs::write(sysctl_path("net.ipv4.icmp_msgs_per_sec"), "1000000")).ok();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let path = Path::new(NAMESPACES).join(&self.name);
        umount2(&path, MntFlags::MNT_DETACH).ok();
        fs::remove_file(&path).ok();
    }
}

/// Makes the directory of names a mount of its own, as the first `ip netns add` does and under the
/// same lock: done later, it would hide the names that are there, and nobody could remove them.
fn prepare_directory() -> io::Result<()> {
    fs::create_dir_all(NAMESPACES)?;
    let directory = File::open(NAMESPACES)?;
    let _lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.lines().any(|line| line.split(' ').nth(4) == Some(NAMESPACES)) {
        return Ok(());
    }
    let itself = Some(NAMESPACES);
    mount(itself, NAMESPACES, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    Ok(mount(None::<&str>, NAMESPACES, None::<&str>, shared, None::<&str>)?)
}

/// Makes a namespace of the calling thread, which is then of no other use, and gives it a name.
fn pin_new_namespace(path: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    File::create_new(path)?;
    let own = Some("/proc/thread-self/ns/net");
    Ok(mount(own, path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
}

/// Dots become slashes; a slash stands for a dot of an interface's name, as for sysctl(8).
fn sysctl_path(name: &str) -> PathBuf {
    let path = name.chars().map(|letter| match letter {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    Path::new("/proc/sys").join(path.collect::<String>())
}
