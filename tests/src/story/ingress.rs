//! An ingress: nginx in a pod, which sends requests for a host name to the pods of a Service.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::lab::{Namespace, Program};

/// The host name that it serves.
pub(super) const HOST: &str = "web.example.org";

/// A running nginx on port 8080 of all addresses of a namespace.
#[derive(Debug)]
pub(super) struct Ingress {
    nginx: Program,
}

impl Ingress {
    /// Starts it.
    pub(super) fn start(ns: &Namespace, upstreams: &[SocketAddr]) -> Self {
        let nginx = Program::start(ns, "nginx", |folder| {
            write(folder, upstreams);
            let config = folder.join("nginx.conf").display().to_string();
            ["-e", "stderr", "-c", &config].map(str::to_owned).to_vec()
        });
        Self { nginx }
    }

    /// From now on new requests go to these; those under way end as they began.
    pub(super) fn send_to(&self, upstreams: &[SocketAddr]) {
        write(self.nginx.folder(), upstreams);
        self.nginx.reload();
    }
}

/// No request is tried twice: one that a pod did not answer must show.
fn write(folder: &Path, upstreams: &[SocketAddr]) {
    let servers: Vec<_> = upstreams.iter().map(|it| format!("    server {it};\n")).collect();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {}/{name};\n", folder.display()))
        .concat();
    let text = format!(
        "daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
events {{}}
http {{
  access_log off;
{temporary}  upstream pods {{
{}  }}
  server {{
    listen 8080;
    listen [::]:8080;
    server_name {HOST};
    location / {{
      proxy_pass http://pods;
      proxy_next_upstream off;
    }}
  }}
  server {{
    listen 8080 default_server;
    listen [::]:8080 default_server;
    return 404;
  }}
}}
",
        servers.concat(),
        folder = folder.display()
    );
    fs::write(folder.join("nginx.conf"), text).expect("write the configuration of nginx");
}
