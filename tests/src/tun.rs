//! A TUN device as a VPN's daemon holds it: packets without an Ethernet header, each behind a
//! virtio header that says what of checksum and segmentation is left to do.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
};

use anyhow::{Context as _, Result, ensure};

use crate::netns;

/// Bytes of the virtio header in front of every packet (`struct virtio_net_hdr`,
/// include/uapi/linux/virtio_net.h).
pub const VIRTIO: usize = 10;
/// The longest that is read or written: the virtio header and an IP packet.
pub const LONGEST: usize = VIRTIO + 65_535;

const DEVICE: &str = "/dev/net/tun";
/// What tailscaled asks for: TSO of both families and, where the kernel has them (6.2), packets of
/// several UDP datagrams.
const OFFLOADS: libc::c_uint = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
const DATAGRAMS: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// A TUN device that is held.
#[derive(Debug)]
pub struct Tun {
    file: File,
    /// Whether the kernel takes packets of several UDP datagrams.
    pub takes_datagrams: bool,
}

/// `struct ifreq` (include/uapi/linux/if.h) with flags.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: u16,
    unused: [u8; 22],
}

// === impl Tun ===

impl Tun {
    /// Holds a device of the calling thread's namespace, which becomes one when there is none.
    /// Reads never wait.
    ///
    /// # Errors
    /// Without root, without the kernel's module, and when somebody else holds it.
    pub fn open(device: &str) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)
            .with_context(|| format!("{DEVICE}: is the module tun there?"))?;
        attach(&file, device)?;
        let takes_datagrams = set_offloads(&file, OFFLOADS | DATAGRAMS).is_ok();
        if !takes_datagrams {
            set_offloads(&file, OFFLOADS).context("segmentation offloads of a TUN device")?;
        }
        Ok(Self { file, takes_datagrams })
    }

    /// Whether this kernel takes packets of several UDP datagrams.
    ///
    /// # Errors
    /// Those of [`Tun::open`].
    pub fn takes_datagrams_here() -> Result<bool> {
        // Its device goes when it is dropped.
        netns::run_in(netns::SWITCH, || Ok(Self::open("probe")?.takes_datagrams))
    }

    /// Reads a packet behind its virtio header.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; others when the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Writes a packet behind its virtio header, as one that the device has received.
    ///
    /// # Errors
    /// When the kernel refuses it, as it does while the device is down.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach(file: &File, device: &str) -> Result<()> {
    ensure!(device.len() < libc::IFNAMSIZ, "{device} is too long for a device's name");
    let mut name = [0; libc::IFNAMSIZ];
    name[..device.len()].copy_from_slice(device.as_bytes());
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as u16;
    let mut request = Request { name, flags, unused: [0; 22] };
    // SAFETY: the descriptor is open, and the kernel reads and writes a `struct ifreq`, as which
    // the request is laid out and as long.
    let status = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    outcome(status).with_context(|| format!("hold the TUN device {device}"))
}

fn set_offloads(file: &File, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the argument is a number.
    let status = unsafe {
        libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads))
    };
    outcome(status)
}

fn outcome(status: libc::c_int) -> io::Result<()> {
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
