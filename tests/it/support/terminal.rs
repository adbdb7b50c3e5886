//! A terminal with a person before it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};

use super::screen::Screen;

pub struct Terminal {
    master: File,
    slave: File,
}

impl Terminal {
    pub fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        Self { master: master.into(), slave: slave.into() }
    }

    /// Starts a command whose standard streams are this terminal.
    pub fn spawn(&self, command: &mut Command) -> Child {
        let slave = || self.slave.try_clone().unwrap();
        command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap()
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).unwrap();
    }

    /// Whether it is in its ordinary mode.
    pub fn echoes(&self) -> bool {
        rustix::termios::tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for exactly this.
    pub fn shows(&mut self, expected: &str) {
        let mut seen = Vec::new();
        while seen.len() < expected.len() {
            seen.push(self.next(&seen, expected));
        }
        assert_eq!(String::from_utf8_lossy(&seen), expected);
    }

    /// Waits until this is shown, whatever stands before it; all of that.
    pub fn shows_at_last(&mut self, expected: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(expected.as_bytes()) {
            seen.push(self.next(&seen, expected));
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits until the screen shows what is wanted.
    pub fn shows_on(&mut self, screen: &mut Screen, wanted: impl Fn(&str) -> bool) -> String {
        let mut seen = Vec::new();
        while !wanted(&screen.text()) {
            let byte = self.next(&seen, &format!("what is wanted after {:?}", screen.text()));
            screen.feed(byte);
            seen.push(byte);
        }
        screen.text()
    }

    /// The next byte. Whoever should say it may have ended instead.
    fn next(&mut self, seen: &[u8], expected: &str) -> u8 {
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&patience)).unwrap();
        assert!(ready > 0, "{:?} instead of {expected:?}", String::from_utf8_lossy(seen));
        let mut byte = [0];
        self.master.read_exact(&mut byte).unwrap();
        byte[0]
    }
}
