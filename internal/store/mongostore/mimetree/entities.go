package mimetree

// entityNames are the names of HTML 5 for the characters that mail has, one each.
const entityNames = `
nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 acute micro
para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig Ccedil
Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave
Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml
igrave iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute
thorn yuml Amacr amacr Abreve abreve Aogon aogon Cacute cacute Ccirc ccirc Cdot cdot Ccaron ccaron Dcaron dcaron
Dstrok dstrok Emacr emacr Edot edot Eogon eogon Ecaron ecaron Gcirc gcirc Gbreve gbreve Gdot gdot Gcedil Hcirc hcirc
Hstrok hstrok Itilde itilde Imacr imacr Iogon iogon Idot imath IJlig ijlig Jcirc jcirc Kcedil kcedil kgreen Lacute
lacute Lcedil lcedil Lcaron lcaron Lmidot lmidot Lstrok lstrok Nacute nacute Ncedil ncedil Ncaron ncaron napos ENG eng
Omacr omacr Odblac odblac OElig oelig Racute racute Rcedil rcedil Rcaron rcaron Sacute sacute Scirc scirc Scedil
scedil Scaron scaron Tcedil tcedil Tcaron tcaron Tstrok tstrok Utilde utilde Umacr umacr Ubreve ubreve Uring uring
Udblac udblac Uogon uogon Wcirc wcirc Ycirc ycirc Yuml Zacute zacute Zdot zdot Zcaron zcaron fnof imped gacute jmath
circ caron breve dot ring ogon tilde dblac DownBreve Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda
Mu Nu Xi Omicron Pi Rho Sigma Tau Upsilon Phi Chi Psi Omega alpha beta gamma delta epsilon zeta eta theta iota kappa
lambda mu nu xi omicron pi rho sigmaf sigma tau upsilon phi chi psi omega thetasym upsih phiv piv Gammad gammad kappav
rhov epsiv bepsi IOcy DJcy GJcy Jukcy DScy Iukcy YIcy Jsercy LJcy NJcy TSHcy KJcy Ubrcy DZcy Acy Bcy Vcy Gcy Dcy IEcy
ZHcy Zcy Icy Jcy Kcy Lcy Mcy Ncy Ocy Pcy Rcy Scy Tcy Ucy Fcy KHcy TScy CHcy SHcy SHCHcy HARDcy Ycy SOFTcy Ecy YUcy
YAcy acy bcy vcy gcy dcy iecy zhcy zcy icy jcy kcy lcy mcy ncy ocy pcy rcy scy tcy ucy fcy khcy tscy chcy shcy shchcy
hardcy ycy softcy ecy yucy yacy iocy djcy gjcy jukcy dscy iukcy yicy jsercy ljcy njcy tshcy kjcy ubrcy dzcy ensp emsp
emsp13 emsp14 numsp puncsp thinsp hairsp ZeroWidthSpace zwnj zwj lrm rlm dash ndash mdash horbar Vert lsquo rsquo
sbquo ldquo rdquo bdquo dagger Dagger bull nldr hellip permil pertenk prime Prime tprime bprime lsaquo rsaquo oline
caret hybull frasl bsemi qprime MediumSpace NoBreak af it ic euro tdot DotDot Copf incare gscr Hscr Hfr Hopf planckh
hbar Iscr image Lscr ell Nopf numero copysr weierp Popf Qopf Rscr real Ropf rx trade Zopf mho Zfr iiota Bscr Cfr escr
Escr Fscr Mscr oscr alefsym beth gimel daleth DD dd ee ii frac13 frac23 frac15 frac25 frac35 frac45 frac16 frac56
frac18 frac38 frac58 frac78 larr uarr rarr darr harr varr nwarr nearr searr swarr nlarr nrarr rarrw Larr Uarr Rarr
Darr larrtl rarrtl mapstoleft mapstoup map mapstodown larrhk rarrhk larrlp rarrlp harrw nharr lsh rsh ldsh rdsh crarr
cularr curarr olarr orarr lharu lhard uharr uharl rharu rhard dharr dharl rlarr udarr lrarr llarr uuarr rrarr ddarr
lrhar rlhar nlArr nhArr nrArr lArr uArr rArr dArr hArr vArr nwArr neArr seArr swArr lAarr rAarr zigrarr larrb rarrb
duarr loarr roarr hoarr forall comp part exist nexist empty nabla isin notin ni notni prod coprod sum minus mp plusdo
setmn lowast compfn radic prop infin angrt ang angmsd angsph mid nmid par npar and or cap cup int Int tint oint Conint
Cconint cwint cwconint awconint there4 becaus ratio Colon minusd mDDot homtht sim bsim ac acd wr nsim esim sime nsime
cong simne ncong asymp nap ape apid bcong CupCap bump bumpe doteq eDot efDot erDot colone ecolon ecir cire wedgeq
veeeq trie equest ne equiv nequiv le ge lE gE lnE gnE ll gg twixt NotCupCap nlt ngt nle nge lsim gsim nlsim ngsim lg
gl ntlg ntgl pr sc prcue sccue prsim scsim npr nsc sub sup nsub nsup sube supe nsube nsupe subne supne cupdot uplus
sqsub sqsup sqsube sqsupe sqcap sqcup oplus ominus otimes osol odot ocir oast odash plusb minusb timesb sdotb vdash
dashv top perp models vDash Vdash Vvdash VDash nvdash nvDash nVdash nVDash prurel vltri vrtri ltrie rtrie origof imof
mumap hercon intcal veebar barvee angrtvb lrtri Wedge Vee xcap xcup diam sdot Star divonx bowtie ltimes rtimes lthree
rthree bsime cuvee cuwed Sub Sup Cap Cup fork epar ltdot gtdot Ll Gg leg gel cuepr cuesc nprcue nsccue nsqsube nsqsupe
lnsim gnsim prnsim scnsim nltri nrtri nltrie nrtrie vellip ctdot utdot dtdot disin isinsv isins isindot notinvc
notinvb isinE nisd xnis nis notnivc notnivb
`
