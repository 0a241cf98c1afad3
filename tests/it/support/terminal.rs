//! A terminal with a program in it: what stands on its screen, and what a person types.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};
use vt100::{Color, Parser, Screen};

use super::browser::reads_grey;
use super::{eventually, soon};

pub(crate) struct Terminal {
    master: File,
    program: Child,
    parser: Arc<Mutex<Parser>>,
    /// Ends when nobody holds the terminal any more.
    reader: JoinHandle<()>,
}

fn winsize((rows, columns): (u16, u16)) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn some(size: u16) -> NonZeroU16 {
    NonZeroU16::new(size).unwrap()
}

impl Terminal {
    /// Runs qrcast in a terminal of so many rows and columns.
    pub(crate) fn start(size: (u16, u16), arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let inside = ioctl_tiocgptpeer(&master, flags).unwrap();
        tcsetwinsize(&inside, winsize(size)).unwrap();
        let inside = || Stdio::from(inside.try_clone().unwrap());
        // `--ctty` makes this the controlling terminal: only from that do Ctrl-C and a new size reach a program.
        let program = Command::new("/usr/bin/setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_qrcast")])
            .args(arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(inside())
            .stdout(inside())
            .stderr(inside())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let parser = Arc::new(Mutex::new(Parser::new(some(size.0), some(size.1), 0)));
        let (master, shown) = (File::from(master), parser.clone());
        let mut read = master.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { master, program, parser, reader }
    }

    /// Gives it another size.
    pub(crate) fn resize(&self, size: (u16, u16)) {
        self.parser.lock().unwrap().screen_mut().set_size(some(size.0), some(size.1));
        tcsetwinsize(&self.master, winsize(size)).unwrap();
    }

    /// Types; `\x03` is Ctrl-C.
    pub(crate) fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Screen) -> T) -> T {
        look(self.parser.lock().unwrap().screen())
    }

    /// Waits until these words stand there; all that does. A line that was too long for its row is one line here.
    pub(crate) async fn shows(&self, words: &str) -> String {
        self.awaits(words, |screen| Some(screen.contents()).filter(|said| said.contains(words))).await
    }

    /// Waits for a QR with its quiet zone, other than this one; what a phone reads in it.
    pub(crate) async fn shows_qr(&self, but: &str) -> String {
        self.awaits("a QR", |screen| qr(screen).filter(|read| read != but)).await
    }

    async fn awaits<T>(&self, what: &str, look: impl Fn(&Screen) -> Option<T>) -> T {
        let seen = RefCell::new(None);
        eventually(what, async || {
            *seen.borrow_mut() = self.look(&look);
            seen.borrow().is_some()
        })
        .await;
        seen.into_inner().unwrap()
    }

    /// Waits for the program's end; its exit code, and what stands there then. The terminal must be as it was.
    pub(crate) async fn ends(&mut self) -> (Option<i32>, String) {
        let code = soon("the end", self.program.wait()).await.unwrap().code();
        eventually("its last words", async || self.reader.is_finished()).await;
        assert!(self.look(|screen| !screen.alternate_screen() && !screen.hide_cursor()));
        (code, self.look(Screen::contents))
    }
}

/// The QR on a screen whose own colour is as dark as a module: what makes it readable must be drawn.
fn qr(screen: &Screen) -> Option<String> {
    let (rows, columns) = screen.size();
    let modules: Vec<Vec<Option<bool>>> =
        (0..2 * rows.get()).map(|y| (0..columns.get()).map(|x| module(screen, x, y)).collect()).collect();
    let modules: Vec<Vec<bool>> = modules
        .into_iter()
        .map(|row| row.into_iter().map_while(|module| module).collect::<Vec<_>>())
        .take_while(|row: &Vec<bool>| !row.is_empty())
        .collect();
    let (tall, wide) = (modules.len(), modules.first()?.len());
    // A half-drawn one is none.
    if modules.iter().any(|row| row.len() != wide) || tall < wide {
        return None;
    }
    let quiet = |y: usize, x: usize| y < 4 || x < 4 || y >= wide - 4 || x >= wide - 4;
    for (y, row) in modules.iter().enumerate() {
        assert!(
            !row.iter().enumerate().any(|(x, dark)| *dark && quiet(y, x)),
            "a dark module in the quiet zone"
        );
    }
    const SIDE: usize = 4;
    reads_grey((wide + 2) * SIDE, (tall + 2) * SIDE, |x, y| {
        let module = |at: usize| (at / SIDE).checked_sub(1);
        let dark = module(y).and_then(|y| modules.get(y)).zip(module(x)).and_then(|(row, x)| row.get(x));
        if dark.copied().unwrap_or(true) { 0 } else { 255 }
    })
}

/// Whether this half of a character is dark; `None` where it is not drawn black on white.
fn module(screen: &Screen, x: u16, y: u16) -> Option<bool> {
    let cell = screen.cell(y / 2, x)?;
    let drawn = cell.fgcolor() == Color::Idx(16) && cell.bgcolor() == Color::Idx(231);
    drawn.then(|| match cell.contents() {
        "█" => true,
        "▀" => y.is_multiple_of(2),
        "▄" => !y.is_multiple_of(2),
        _ => false,
    })
}
