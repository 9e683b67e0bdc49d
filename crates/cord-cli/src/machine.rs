//! Where a number was made: commit and machine.

use std::process::Command;

/// The commit that the program runs from, `-dirty` where the tree had changes; nothing outside of a checkout.
pub(crate) fn commit() -> Option<String> {
    let output =
        Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The processor, its cores and the memory, in words.
pub(crate) fn describe() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let memory = kib.map_or_else(String::new, |kib| format!(", {} GiB", kib.div_ceil(1 << 20)));
    format!("{}, {cores} cores{memory}", model.unwrap_or(std::env::consts::ARCH))
}

/// Bytes of memory that are free or can be freed; Linux only.
pub(crate) fn free_memory() -> Option<usize> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<usize>().ok()? << 10)
}

/// Bytes of free memory of an NVIDIA GPU, where its tool says so.
pub(crate) fn gpu_memory(index: usize) -> Option<usize> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=memory.free", "--format=csv,noheader,nounits", &format!("--id={index}")])
        .output()
        .ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().parse::<usize>().ok()? << 20)
}
