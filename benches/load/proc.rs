//! What the kernel says of a server's processes. Everything that reports a figure asks here.

use std::fs;

/// Processor seconds of these processes so far, user and system together. The kernel counts in hundredths.
pub(crate) fn cpu(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| ticks(*pid) as f64 / 100.0).sum()
}

fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything; utime and stime are the 14th and 15th fields.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Memory of these processes in bytes, what they share with others divided among them.
pub(crate) fn pss(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:") * 1024.0).sum()
}

fn kilobytes(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or_default()
}

/// Memory of all TCP sockets of this machine in bytes.
pub(crate) fn sockets() -> f64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages: f64 = line.rsplit(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096.0
}
