//! How much processor time one QR takes: drawn as SVG, as PNG, and as the data URL that every viewer is sent.
//!
//! `cargo bench --features simulator --bench qr [-- ROUNDS]`. The text is as long as WhatsApp's. The time is this thread's
//! own, as the kernel counts it, so that other work on the machine does not show.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so by ending")]
#![expect(clippy::print_stdout, reason = "its result")]

use std::hint::black_box;

use qrcast::qr;

fn main() {
    let rounds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(500);
    let key = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=";
    let text = format!("2@{},{key},{key},{key},1", "AbCdEfGh0123456789+/".repeat(5));
    println!("a text of {} bytes, {rounds} rounds", text.len());
    measure("SVG", rounds, || qr::svg(&text).len());
    measure("PNG", rounds, || qr::png(&text).len());
    measure("data URL", rounds, || qr::data_url(&text).len());
}

fn measure(name: &str, rounds: u32, draw: impl Fn() -> usize) {
    let bytes = draw();
    let begun = processor_time();
    for _ in 0..rounds {
        black_box(draw());
    }
    let each = (processor_time() - begun) / f64::from(rounds);
    println!("{name}: {each:.0} µs, {bytes} bytes");
}

/// Microseconds that this thread has run.
fn processor_time() -> f64 {
    let counted = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    counted.split(' ').next().unwrap().parse::<f64>().unwrap() / 1000.0
}
