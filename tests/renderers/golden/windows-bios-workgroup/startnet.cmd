@echo off
wpeinit
set tries=0
:fetch
curl.exe --globoff --silent --show-error --fail --max-time 60 --output X:\unattend.xml "http://boot.acme.example:8080/octofleet/acme/kiosk-01/unattend.xml" && goto fetched
set /a tries+=1
ping -n 4 127.0.0.1 > NUL
if %tries% lss 30 goto fetch
goto failed
:fetched
start /wait X:\sources\setup.exe /unattend:X:\unattend.xml /noreboot
if errorlevel 1 goto failed
if not exist C:\Windows\System32\config\SYSTEM goto failed
wpeutil reboot
exit /b 0
:failed
set skip=0
for /f %%n in ('find /c /v "" ^< X:\Windows\Panther\setuperr.log') do set /a skip=%%n-80
if %skip% lss 0 set skip=0
more +%skip% X:\Windows\Panther\setuperr.log > X:\tail.txt
type X:\tail.txt
echo Octofleet: the installation has failed
cmd.exe
