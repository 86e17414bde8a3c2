//! Names: a DNS server in a pod, and programs that look names up as a container does.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use serde::Deserialize;
use tempfile::TempDir;

use crate::lab::{Namespace, Program, temporary_directory};

/// The outside host that the Service of type `ExternalName` names.
pub(super) const DATABASE: &str = "database.example.org";

/// How a container looks names up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lookup {
    /// By UDP, as everybody does first.
    Udp,
    /// By TCP, as one does whose answer was too long.
    Tcp,
}

/// What a container finds in `/etc` about names, and what the DNS server tells about the cluster.
#[derive(Debug)]
pub(super) struct Names {
    folder: TempDir,
}

impl Names {
    /// A container that asks the DNS server at `server`.
    pub(super) fn new(server: IpAddr) -> Self {
        let names = Self { folder: temporary_directory("names") };
        let conf = format!(
            "nameserver {server}\n\
             search default.svc.cluster.local svc.cluster.local cluster.local\n\
             options ndots:5 timeout:2 attempts:2"
        );
        names.write("nsswitch.conf", "hosts: dns\n");
        names.write("Udp", &format!("{conf}\n"));
        names.write("Tcp", &format!("{conf} use-vc\n"));
        names.write("hosts", "");
        names
    }

    /// Replaces the records of the cluster; servers read them when told to.
    pub(super) fn write_hosts(&self, hosts: &str) {
        self.write("hosts", hosts);
    }

    /// dnsmasq, on all addresses of a namespace. `aliases` are other names of hosts, among which is
    /// [`DATABASE`] at `database`.
    pub(super) fn serve(
        &self,
        ns: &Namespace,
        aliases: &[(String, String)],
        database: [IpAddr; 2],
    ) -> Program {
        let [v4, v6] = database;
        let mut arguments = ["--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
            .map(str::to_owned)
            .to_vec();
        arguments.extend(
            ["--user=root", "--log-facility=-", "--log-queries", "--no-resolv", "--no-hosts"]
                .map(str::to_owned),
        );
        arguments.push("--local=/cluster.local/".to_owned());
        arguments.push(format!("--addn-hosts={}", self.path("hosts")));
        arguments.push(format!("--host-record={DATABASE},{v4},{v6}"));
        arguments.extend(aliases.iter().map(|(alias, target)| format!("--cname={alias},{target}")));
        Program::start(ns, "dnsmasq", |_| arguments)
    }

    /// Fetches `url` with curl, from a mount namespace in which the files of the container are in
    /// their places. `more` are further arguments.
    pub(super) fn curl(
        &self,
        ns: &Namespace,
        lookup: Lookup,
        url: &str,
        more: &[&str],
    ) -> Result<Page, String> {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", IN_CONTAINER, &self.path("nsswitch.conf")]);
        command.arg(self.path(&format!("{lookup:?}")));
        command.args(["curl", "--silent", "--show-error", "--fail", "--noproxy", "*"]);
        command.args(["--max-time", "10", "--write-out", "\n%{remote_ip}"]);
        command.args(more).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = ns.spawn(&mut command).map_err(|error| format!("start curl: {error}"))?;
        let output = process.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Page::read(&String::from_utf8_lossy(&output.stdout))
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.folder.path().join(file), text).expect("write a file about names");
    }

    fn path(&self, file: &str) -> String {
        self.folder.path().join(file).display().to_string()
    }
}

/// Puts the files in their places and becomes the program.
const IN_CONTAINER: &str = "mount --bind \"$0\" /etc/nsswitch.conf && \
    mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

/// What curl fetched from a server of the lab.
#[derive(Debug)]
pub(super) struct Page {
    /// The name of the server.
    pub(super) name: String,
    /// Whom the server saw.
    pub(super) seen: IpAddr,
    /// The address that curl dialled.
    pub(super) dialled: IpAddr,
}

#[derive(Deserialize)]
struct Greeting {
    name: String,
    peer: SocketAddr,
}

impl Page {
    fn read(printed: &str) -> Result<Self, String> {
        let read = || {
            let (body, dialled) = printed.rsplit_once('\n')?;
            let greeting: Greeting = serde_json::from_str(body).ok()?;
            let (name, seen) = (greeting.name, greeting.peer.ip());
            Some(Self { name, seen, dialled: dialled.parse().ok()? })
        };
        read().ok_or_else(|| format!("no answer of a server of the lab: {printed:?}"))
    }
}
