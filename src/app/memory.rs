//! How the kernel gives memory to the process.

/// Forbids huge pages of 2 MiB. The buffers of connections are short-lived and lie scattered: a huge page stays in
/// memory as a whole as long as one of them is in use, and costs up to a third of the memory of idle connections.
/// Without huge pages a request costs the same: docs/PERFORMANCE.md.
///
/// Also holds for a process that takes over. Where the kernel does not know it, memory stays as it is.
pub fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
