@echo off
rem "Cartoonize" in the menu Send to of Windows: press Windows+R, open shell:sendto, and copy this file
rem there under the name Cartoonize.cmd. It takes pictures, videos and folders.
rem TOONBOX names another command, such as one in an environment of its own.
setlocal
if not defined TOONBOX set "TOONBOX=toonbox"
"%TOONBOX%" cartoonize -- %*
if errorlevel 1 pause
