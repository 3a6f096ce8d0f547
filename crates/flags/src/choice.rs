//! Values out of a list.

use std::ffi::OsStr;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Command, Error, ValueEnum};

/// See [`choice`].
#[derive(Clone, Debug)]
pub struct Choice<T: ValueEnum + Clone + Send + Sync + 'static>(EnumValueParser<T>);

/// One of the values of `T`, with white space around it or not.
///
/// ```
/// use clap::{Parser, ValueEnum};
/// use siglip2_flags::choice;
///
/// #[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
/// enum Device {
///     Cpu,
///     Cuda,
/// }
///
/// #[derive(Parser)]
/// struct Settings {
///     #[arg(long, value_enum, value_parser = choice::<Device>(), default_value_t = Device::Cuda)]
///     device: Device,
/// }
///
/// let settings: Settings = siglip2_flags::try_parse_from(["program", "--device", " cpu"])?;
/// assert_eq!(settings.device, Device::Cpu);
/// # Ok::<(), clap::Error>(())
/// ```
pub fn choice<T: ValueEnum + Clone + Send + Sync + 'static>() -> Choice<T> {
    Choice(EnumValueParser::new())
}

impl<T: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for Choice<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, Error> {
        let value = value.to_str().map_or(value, |text| OsStr::new(text.trim()));
        self.0.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.0.possible_values()
    }
}
