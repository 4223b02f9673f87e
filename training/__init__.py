"""From a folder of pictures to a weights file: losses, the loop, and one recipe per paper."""
