"""What all packages use and no user calls: files, machine, devices, progress, checks of input, statements."""
