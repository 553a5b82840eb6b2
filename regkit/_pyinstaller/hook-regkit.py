"""What PyInstaller adds to an application that imports regkit."""  # noqa: N999 - PyInstaller looks for this name

from regkit._pyinstaller import collected

datas, hiddenimports = collected()
