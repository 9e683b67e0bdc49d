//! Where tensors live: chosen at run time, by name.

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;

use crate::LmError;

/// A device as a recipe or the command line names it: `cpu` or `cuda:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU, by index.
    Cuda(usize),
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("expected `cpu` or `cuda:<index>`, got `{text}`")),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Opens a device.
///
/// # Errors
/// [`LmError::Device`] when the program was built without CUDA, or the machine has no driver or no such GPU.
pub fn open_device(spec: DeviceSpec) -> Result<Device, LmError> {
    match spec {
        DeviceSpec::Cpu => Ok(Device::flex()),
        DeviceSpec::Cuda(index) => open_cuda(index),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device, LmError> {
    Err(LmError::Device {
        device: DeviceSpec::Cuda(index).to_string(),
        reason: "this program was built without CUDA; build it with `--features cuda`, or use `--device cpu`".into(),
    })
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device, LmError> {
    let fault = |reason: String| LmError::Device { device: DeviceSpec::Cuda(index).to_string(), reason };
    // burn panics where the driver is absent, so the driver's own device files are looked at first.
    let driver = ["/dev/nvidiactl", "/dev/dxg"].iter().any(|path| std::path::Path::new(path).exists());
    if !driver {
        return Err(fault("this machine has no NVIDIA driver; use `--device cpu`".into()));
    }
    let probe = std::panic::catch_unwind(|| {
        let device = Device::cuda(index);
        let sum: f32 = burn::tensor::Tensor::<1>::ones([4], &device).sum().into_scalar();
        (device, sum)
    });
    match probe {
        Ok((device, 4.0)) => Ok(device),
        Ok((_, sum)) => Err(fault(format!("expected the sum of four ones to be 4, got {sum}"))),
        Err(panic) => {
            let reason = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_else(|| "the driver did not start".into());
            Err(fault(format!("{reason}; use `--device cpu`, or another index")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_read_back() {
        for (text, spec) in [("cpu", DeviceSpec::Cpu), ("cuda:3", DeviceSpec::Cuda(3))] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap(), spec);
            assert_eq!(spec.to_string(), text);
        }
        assert_eq!("tpu".parse::<DeviceSpec>().unwrap_err(), "expected `cpu` or `cuda:<index>`, got `tpu`");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_gpu_that_was_not_built_in_is_a_clear_error() {
        let error = open_device(DeviceSpec::Cuda(0)).unwrap_err().to_string();
        assert_eq!(
            error,
            "can't use the device `cuda:0`: this program was built without CUDA; build it with `--features cuda`, or use `--device cpu`"
        );
    }
}
